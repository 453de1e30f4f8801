"""What is installed as a bundle, and what the store remembers of it."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path

from edge.bundles.bundle import DEMO_BUNDLE, MANIFEST, encode_manifest, read_manifest
from edge.bundles.contents import open_contents
from edge.bundles.install import install
from edge.bundles.manifest import Manifest
from edge.bundles.state import SHIPPED, State
from edge.bundles.store import STATE, BundleStore
from tests.fuzz.target import Target
from tests.fuzz.targets.bundles import JSON_TOKENS

_BLOCK = 512  # bytes: POSIX.1-2001, ustar interchange format
_CHECKSUM = slice(148, 156)


def _bundle() -> dict[str, bytes]:
    """The files of a bundle whose graphs are a few bytes each."""
    manifest = read_manifest(DEMO_BUNDLE).model_dump(by_alias=True)
    files: dict[str, bytes] = {}
    for name, model in manifest["models"].items():
        for precision, graph in model["precisions"].items():
            content = f"{name} {precision}".encode() * 9
            graph |= {"bytes": len(content), "sha256": sha256(content).hexdigest()}
            files[graph["file"]] = content
    return {MANIFEST: encode_manifest(Manifest.model_validate(manifest)), **files}


class BundleArchive(Target):
    """A tar.gz, or a tar that is packed here so that spoilt bytes reach what reads it.

    Headers get a right checksum where the first byte is even: most spoilt ones would not be looked at further.
    """

    tokens = (
        *(
            b"ustar\x0000",
            b"ustar  \0",
            b"../",
            b"/etc/passwd",
            b"manifest.json",
            b"././@LongLink",
            b"././@PaxHeader",
        ),
        *(
            b"path=../../x\n",
            b"size=99999999999\n",
            b"GNU.sparse.major=1\n",
            b"hdrcharset=BINARY\n",
            b"\x80\0\0\0\xff",
        ),
        *(b"0", b"1", b"2", b"5", b"7", b"L", b"S", b"g", b"x", b"\0" * 512, b"77777777777", b"-1", b"\x1f\x8b\x08"),
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._files = _bundle()
        self._path = folder / "bundle.tar.gz"
        self._state = folder / "state"

    def seeds(self) -> list[bytes]:
        plain = [_tar(self._files, kind) for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
        long_name = {**self._files, "x" * 150: b"not named", "ü" * 60: b""}
        plain += [_tar(self._files, tarfile.USTAR_FORMAT, "north/"), _tar(long_name, tarfile.PAX_FORMAT)]
        plain += [_tar(long_name, tarfile.GNU_FORMAT)]
        packed = [gzip.compress(tar, mtime=0) for tar in plain[:2]]
        return plain + packed

    def feed(self, data: bytes) -> None:
        if not data.startswith(b"\x1f\x8b"):
            data = gzip.compress(data if data[:1] and data[0] % 2 else _with_checksums(data), 1, mtime=0)
        self._path.write_bytes(data)
        store = BundleStore(self._state)
        try:
            with open_contents(self._path) as contents:
                head = install(contents, store, None)
            found = {path.name: path.read_bytes() for path in store.path(head.bundle).iterdir()}
            assert found.pop(MANIFEST) == head.content
            assert {name: sha256(content).hexdigest() for name, content in found.items()} == {
                name: graph.sha256 for name, graph in head.graphs.items()
            }
        finally:
            assert {path.name for path in self.folder.iterdir()} <= {"bundle.tar.gz", "state"}, "something got out"
            assert not [path for path in self.folder.rglob("*") if path.is_symlink()]
            shutil.rmtree(self._state, ignore_errors=True)


def _tar(files: dict[str, bytes], kind: int, folder: str = "") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=kind) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(folder + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _with_checksums(data: bytes) -> bytes:
    """Every block that calls itself a header has the right sum (POSIX.1-2001: of all bytes, the sum's as spaces)."""
    blocks = bytearray(data)
    for start in range(0, len(blocks) - _BLOCK + 1, _BLOCK):
        block = blocks[start : start + _BLOCK]
        if block[257:262] == b"ustar":
            block[_CHECKSUM] = b" " * 8
            block[_CHECKSUM] = b"%06o\0 " % sum(block)
            blocks[start : start + _BLOCK] = block
    return bytes(blocks)


class StoreState(Target):
    """Bytes of the store's state.json: damaged, it is set aside, and the store goes on."""

    tokens = (
        *JSON_TOKENS,
        b'"shipped"',
        b'"installed"',
        b'"candidate"',
        b'"active"',
        b'"probation"',
        b"a-1-0123456789ab",
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._store = BundleStore(folder / "state")
        self._path = self._store.folder / STATE

    def seeds(self) -> list[bytes]:
        manifest = read_manifest(DEMO_BUNDLE)
        fresh = State()
        asked = fresh.installed("demo-1-0123456789ab", manifest)
        return [state.model_dump_json(indent=2).encode() for state in (fresh, asked)]

    def feed(self, data: bytes) -> None:
        self._store.change(lambda state: state)
        self._path.write_bytes(data)
        try:
            state = self._store.state()
            assert State.model_validate_json(state.model_dump_json()) == state
        finally:
            goes_on = self._store.change(lambda state: state)
            assert goes_on.active == SHIPPED or goes_on == State.model_validate_json(data)
            self._path.unlink(missing_ok=True)
