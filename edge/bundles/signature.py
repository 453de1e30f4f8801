"""Who made a bundle: manifest.sig, an Ed25519 signature over the bytes of manifest.json. Format: docs/bundle.md.

The manifest holds the sha256 of every graph, so that its signature covers the bundle. `tapetum-build sign` makes it.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.bundles.files import open_plain, read_plain
from edge.bundles.manifest import Sha256, explain
from edge.errors import BundleError, ConfigError

SIGNATURE: Final = "manifest.sig"
LARGEST: Final = 4096  # bytes; a signature file has about 240


class Signature(BaseModel):
    """manifest.sig. `key` is the public key's fingerprint: it tells who claims to have signed, and proves nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    algorithm: Literal["Ed25519"] = "Ed25519"
    key: Sha256
    signature: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{86}==$")]  # 64 bytes (RFC 8032, 5.1.6) in base64

    @property
    def value(self) -> bytes:
        """The 64 bytes."""
        return base64.b64decode(self.signature)


def check_signature(folder: Path, manifest: bytes, public_key: Path) -> None:
    """Check that a bundle's manifest, whose content is given, was signed by a key.

    Args:
        public_key: its PEM file.

    Raises:
        BundleError: the bundle is not signed, or by another key, or was altered after it was signed, or its signature
            file is damaged.
        ConfigError: the public key cannot be read.
    """
    read_public_key(public_key).check(read_signature(folder), manifest, str(folder))


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a unit checks signatures with; `path` names it in messages."""

    key: Ed25519PublicKey
    path: Path

    def check(self, signature: Signature, manifest: bytes, where: str) -> None:
        """Check that this key signed the content of a manifest.

        Args:
            where: the bundle, in messages.

        Raises:
            BundleError: another key did, or the manifest was altered after it was signed.
        """
        try:
            self.key.verify(signature.value, manifest)
        except InvalidSignature as error:
            raise BundleError(self._why(signature, where)) from error

    def _why(self, signature: Signature, where: str) -> str:
        """What a signature that does not fit says to the user. Here alone its own word on its key is taken."""
        wanted = fingerprint(self.key)
        if signature.key != wanted:
            return (
                f"{where}: the bundle is signed by another key ({signature.key[:12]}) than {self.path} "
                f"({wanted[:12]}): install a bundle of your own signer"
            )
        return f"{where}: the bundle's manifest was altered after it was signed: install the bundle again"


def read_public_key(path: Path) -> PublicKey:
    """Read an Ed25519 public key in PEM (SubjectPublicKeyInfo, RFC 8410).

    Raises:
        ConfigError: it is missing, or is something else.
    """
    try:
        key = load_pem_public_key(read_plain(path, LARGEST))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the public key: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: not a public key in PEM: give the public file of tapetum-build keygen") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path}: not an Ed25519 key: give the public file of tapetum-build keygen")
    return PublicKey(key, path)


def fingerprint(key: Ed25519PublicKey) -> str:
    """Hexadecimal sha256 of a public key's DER: `openssl pkey -pubin -in KEY -outform DER | sha256sum`."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def read_signature(folder: Path) -> Signature:
    """Read a bundle's signature file.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    path = folder / SIGNATURE
    try:
        with open_plain(path) as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise BundleError(
            f"{folder}: the bundle is not signed, and public_key asks for a signature: install a signed bundle"
        ) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot read the signature: {error.strerror}: install the bundle again") from error
    if len(content) > LARGEST:
        raise BundleError(f"{path}: damaged: over {LARGEST} bytes: install the bundle again")
    return parse_signature(content, str(path))


def parse_signature(content: bytes, where: str) -> Signature:
    """Check what stands in a signature file; `where` names it in messages.

    Raises:
        BundleError: it is damaged.
    """
    try:
        return Signature.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(f"{where}: damaged: {explain(error)}: install the bundle again") from error
