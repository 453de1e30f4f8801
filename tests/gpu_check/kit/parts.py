"""Files in parts of a size: what can be carried at once is limited, and wheels are larger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MANIFEST = "kit.json"
BLOCK = 1 << 20


class KitError(Exception):
    """A kit is missing, damaged or not whole; the text says what to do."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a file: `part` and `name` say where it lies."""

    part: str
    name: str
    bytes: int


@dataclass(frozen=True)
class Packed:
    """A file of the kit: its place in it, its content, and the pieces that it was cut to."""

    path: str
    sha256: str
    pieces: list[Piece]


def pack(files: Iterable[tuple[str, Path]], out: Path, part_bytes: int | None) -> list[Packed]:
    """Lay files into out/part-01, part-02 and so on, each of at most `part_bytes`; None is one part."""
    parts = _Parts(out, part_bytes)
    return [Packed(path, _sha256([file]), list(parts.take(file, path.replace("/", "+")))) for path, file in files]


def write_manifest(out: Path, packed: Iterable[Packed], about: dict[str, Any]) -> None:
    """Write what the kit holds into its first part, which is never full: `Parts` leaves room."""
    document = about | {"files": [asdict(file) for file in packed]}
    (out / "part-01").mkdir(parents=True, exist_ok=True)
    (out / "part-01" / MANIFEST).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_manifest(kit: Path) -> dict[str, Any]:
    """What a kit holds.

    Raises:
        KitError: there is no kit, or its first part is missing.
    """
    path = kit / "part-01" / MANIFEST
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise KitError(f"{path} cannot be read ({error}): bring part-01 of what `make gpu-kit` made") from error


def unpack(kit: Path, files: Iterable[dict[str, Any]], into: Path) -> None:
    """Put the files together again, as far as their parts are there. What was put together before is left alone, so
    that parts may come one after the other, and go.

    Raises:
        KitError: parts are missing, or a file is not what was packed.
    """
    missing: set[str] = set()
    for each in files:
        file = Packed(each["path"], each["sha256"], [Piece(**piece) for piece in each["pieces"]])
        if not (into / file.path).exists():
            missing |= _put_together(kit, file, into / file.path)
    if missing:
        raise KitError(f"{kit}: {', '.join(sorted(missing))} not there or not whole: bring all parts")


def _put_together(kit: Path, file: Packed, target: Path) -> set[str]:
    """Names of the parts that it lacks; none when it is done."""
    missing = {piece.part for piece in file.pieces if not (kit / piece.part / piece.name).exists()}
    pieces = [kit / piece.part / piece.name for piece in file.pieces]
    if not missing:
        if _sha256(pieces) != file.sha256:
            raise KitError(f"{file.path}: sha256 differs from the kit's: bring {_parts_of(file)} again")
        _join(pieces, target)
    return missing


class _Parts:
    """The parts that are being filled."""

    def __init__(self, out: Path, size: int | None) -> None:
        self._out, self._size = out, size
        self._number, self._left = 0, 0
        self._next()

    def take(self, file: Path, name: str) -> Iterator[Piece]:
        """A file into the parts, cut where one is full, under a name that no other has."""
        total = file.stat().st_size
        with file.open("rb") as source:
            done, count = 0, 0
            while done < total or not count:
                if self._size is not None and not self._left:
                    self._next()
                length = total if self._size is None else min(total - done, self._left)
                yield self._piece(source, f"{name}.{count:03}" if length < total else name, length)
                done, count = done + length, count + 1

    def _piece(self, source: Any, name: str, length: int) -> Piece:
        folder = self._out / f"part-{self._number:02}"
        with (folder / name).open("wb") as target:
            for start in range(0, length, BLOCK):
                target.write(source.read(min(BLOCK, length - start)))
        self._left -= length
        return Piece(folder.name, name, length)

    def _next(self) -> None:
        self._number += 1
        self._left = (self._size or 0) - (BLOCK if self._number == 1 else 0)  # the manifest lies in the first
        (self._out / f"part-{self._number:02}").mkdir(parents=True)


def _join(pieces: Iterable[Path], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.part")
    with unfinished.open("wb") as file:
        for block in _blocks(pieces):
            file.write(block)
    unfinished.replace(target)


def _sha256(pieces: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for block in _blocks(pieces):
        digest.update(block)
    return digest.hexdigest()


def _blocks(files: Iterable[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block


def _parts_of(file: Packed) -> str:
    return " and ".join(sorted({piece.part for piece in file.pieces}))
