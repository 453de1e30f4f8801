"""Ed25519 keys, and the signature of a bundle. What a unit checks stands in edge/bundles/signature.py."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edge.atomic import remove_leftovers, write_atomic
from edge.bundles.bundle import MANIFEST, check_graph, manifest_bytes, parse_manifest
from edge.bundles.manifest import Manifest
from edge.bundles.signature import SIGNATURE, Signature, fingerprint
from edge.errors import InputError, TapetumError

NAME = "bundle"  # of keys that are written into a folder


def make_keys(out: Path) -> tuple[Path, Path]:
    """Write a new pair of keys in PEM: `<out>.private.pem`, readable by its owner alone, and `<out>.public.pem`.

    Args:
        out: a prefix, or a folder that is there already.

    Returns:
        The private and the public file.

    Raises:
        InputError: a file of that name is there: a key is never overwritten.
        OSError: they cannot be written; neither is left behind.
    """
    prefix = out / NAME if out.is_dir() else out
    private, public = (prefix.with_name(f"{prefix.name}.{kind}.pem") for kind in ("private", "public"))
    key = Ed25519PrivateKey.generate()
    prefix.parent.mkdir(parents=True, exist_ok=True)
    _write_new(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    try:
        _write_new(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except BaseException:
        private.unlink()
        raise
    return private, public


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read an Ed25519 private key in PEM, without a passphrase.

    Raises:
        InputError: it is missing, or is something else.
    """
    cure = "give the private file of tapetum-build keygen"
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise InputError(f"{path}: cannot read the private key: {error.strerror}: {cure}") from error
    except TypeError as error:  # what cryptography raises where a passphrase is missing
        raise InputError(f"{path}: the private key has a passphrase: {cure}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: not a private key in PEM: {cure}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: not an Ed25519 key: {cure}")
    return key


def encode_signature(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """What manifest.sig holds for the content of a manifest.json."""
    value = base64.b64encode(key.sign(manifest)).decode()
    signature = Signature(key=fingerprint(key.public_key()), signature=value)
    return signature.model_dump_json(indent=2).encode() + b"\n"


def sign(folder: Path, key: Ed25519PrivateKey) -> Manifest:
    """Sign a bundle as it stands, when all of it is whole.

    Raises:
        BundleError: the manifest is not valid, or a graph of any precision is missing or altered.
        TapetumError: the signature cannot be written; an older one is as it was.
    """
    content = manifest_bytes(folder)
    manifest = parse_manifest(content, folder / MANIFEST)
    check_graphs(folder, manifest)
    remove_leftovers(folder)
    try:
        write_atomic(folder / SIGNATURE, encode_signature(content, key))
    except OSError as error:
        place = folder / SIGNATURE
        raise TapetumError(f"{place}: cannot write: {error.strerror}: sign a copy of the bundle") from error
    return manifest


def check_graphs(folder: Path, manifest: Manifest) -> None:
    """Check the graphs of all precisions; a unit checks those that it uses.

    Raises:
        BundleError: one is missing or altered.
    """
    for entry in manifest.models.values():
        for graph in entry.precisions.values():
            check_graph(folder, graph)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is not there yet, with these permissions from its first byte on."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise InputError(f"{path}: is there already, and a key is never overwritten: choose another --out") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise
