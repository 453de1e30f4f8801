"""What comes with a bundle: its manifest, its signature, and the key that it is checked with."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge.bundles.bundle import DEMO_BUNDLE, MANIFEST, encode_manifest, parse_manifest
from edge.bundles.manifest import MODEL_NAMES, SCHEMA
from edge.bundles.signature import SIGNATURE, Signature, check_signature, fingerprint, read_public_key
from tests.fuzz.target import Target

JSON_TOKENS = (
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"NaN", b"Infinity", b'""', b"\\u0000", b"\\ud800"),
    *(b"\\n", b"1e999", b"[]", b"{}"),
)
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_PUBLIC = _KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _compact(document: bytes) -> bytes:
    return json.dumps(json.loads(document), separators=(",", ":")).encode()


class ManifestFile(Target):
    """Bytes of manifest.json."""

    tokens = (*JSON_TOKENS, b'"schema"', b'"fp32"', b'"int8"', b'"float32"', b"../x", b'"squash"', b'"letterbox"')

    def seeds(self) -> list[bytes]:
        demo = (DEMO_BUNDLE / MANIFEST).read_bytes()
        return [demo, _compact(demo)]

    def feed(self, data: bytes) -> None:
        manifest = parse_manifest(data, Path(MANIFEST))
        again = parse_manifest(encode_manifest(manifest), Path(MANIFEST))
        assert again == manifest.model_copy(update={"schema_number": SCHEMA})
        assert set(manifest.models) == set(MODEL_NAMES) and manifest.labels
        for model in manifest.models.values():
            assert all(1 <= size <= 1 << 14 for size in model.input_size)
            for graph in model.precisions.values():
                assert Path(graph.file).name == graph.file, "leads out of the bundle"


class SignatureFile(Target):
    """Bytes of manifest.sig: none is taken that the key did not make."""

    tokens = (*JSON_TOKENS, b"Ed25519", b"=", b"==", b"AAAA")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._public_key = folder / "public.pem"
        self._public_key.write_bytes(_PUBLIC)
        self._manifest = b'{"schema": 2}'
        self._value = _KEY.sign(self._manifest)

    def seeds(self) -> list[bytes]:
        text = base64.b64encode(self._value).decode()
        good = Signature(key=fingerprint(_KEY.public_key()), signature=text).model_dump_json().encode()
        return [good, json.dumps(json.loads(good), indent=2).encode()]

    def feed(self, data: bytes) -> None:
        (self.folder / SIGNATURE).write_bytes(data)
        check_signature(self.folder, self._manifest, self._public_key)
        assert Signature.model_validate_json(data).value == self._value, "a signature that nobody made"


class PublicKey(Target):
    """Bytes of the PEM file that `public_key` names."""

    tokens = (
        b"-----BEGIN PUBLIC KEY-----",
        b"-----END PUBLIC KEY-----",
        b"-----BEGIN RSA PUBLIC KEY-----",
        b"\n",
        b"=",
    )
    is_python = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._path = folder / "public.pem"

    def seeds(self) -> list[bytes]:
        return [_PUBLIC, b"# of the station\n" + _PUBLIC]

    def feed(self, data: bytes) -> None:
        self._path.write_bytes(data)
        key = read_public_key(self._path)
        assert len(key.key.public_bytes(Encoding.Raw, PublicFormat.Raw)) == 32
