"""What somebody gives as a bundle, a tar.gz or a folder, entry by entry. Nothing in it is trusted.

A bundle is flat. Of an archive only plain files are taken, each in the archive itself or all in the one folder that
was packed; whatever else an archive can hold (links, devices, paths that lead elsewhere, a name twice) refuses it.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_SET, BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Final, cast

from edge.bundles.files import open_plain
from edge.closing import Closing
from edge.errors import BundleError, InputError, one_line

MOST_ENTRIES: Final = 256
LARGEST: Final = 4 << 30  # bytes of all that an archive unpacks to
CHUNK: Final = 1 << 20  # bytes read at once: no more of an archive is ever in memory
SUFFIXES: Final = (".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class Entry:
    """One plain file of `size` bytes. `chunks` are read before the next entry is asked for, or not at all."""

    name: str
    size: int
    chunks: Iterator[bytes]


class Contents(Closing):
    """The files of a bundle. `name` is what was given, in messages."""

    name: str

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """All plain files, no name twice; may be called again.

        Raises:
            BundleError: it is damaged, or holds what no bundle has.
            InputError: the disk or the stick that it is on cannot be read any more.
        """

    def _unreadable(self, error: OSError) -> InputError:
        return InputError(f"{self.name}: cannot be read: {error.strerror}: look at the disk or stick that it is on")


def open_contents(path: Path) -> Contents:
    """Open an archive, by its suffix, or a folder.

    Raises:
        InputError: it is missing, or neither.
    """
    try:
        if path.is_dir():
            return Folder(path)
        if path.name.endswith(SUFFIXES):
            return Archive(open_plain(path), str(path))
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot read the bundle: {reason}: give a tar.gz or a folder") from error
    raise InputError(f"{path}: neither a folder nor a {' or '.join(SUFFIXES)} file: give a bundle")


class Folder(Contents):
    """A folder's plain files, opened at once: who may read them may be somebody else than who unpacks them."""

    def __init__(self, path: Path) -> None:
        """Raises OSError: a file cannot be opened."""
        self.name = str(path)
        self._files: dict[str, BinaryIO] = {}
        for file in sorted(path.iterdir()):
            if file.is_file() and not file.is_symlink() and len(self._files) < MOST_ENTRIES:
                self._files[file.name] = open_plain(file, follow_links=False)

    def entries(self) -> Iterator[Entry]:
        for name, file in self._files.items():
            size = file.seek(0, 2)
            file.seek(0)
            yield Entry(name, size, self._content(file))

    def _content(self, file: BinaryIO) -> Iterator[bytes]:
        try:
            yield from _chunks(file)
        except OSError as error:
            raise self._unreadable(error) from error

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class Archive(Contents):
    """A tar.gz."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Take over the open file."""
        self._file = file
        self.name = name

    def entries(self) -> Iterator[Entry]:
        self._file.seek(0)
        with (
            self._told(),
            gzip.GzipFile(fileobj=self._file) as unpacked,
            # One read at a time, and never backwards: the headers are the archive's word alone.
            tarfile.open(fileobj=cast(BinaryIO, _Forward(unpacked)), mode="r:") as archive,
        ):
            yield from self._plain(archive)

    def close(self) -> None:
        self._file.close()

    def _plain(self, archive: tarfile.TarFile) -> Iterator[Entry]:
        names: set[str] = set()
        folders: set[str] = set()
        for count, member in enumerate(iter(archive.next, None)):
            if count >= MOST_ENTRIES:
                raise self._refused(f"it holds more than {MOST_ENTRIES} entries")
            folder, name = self._place(member)
            folders.add(folder)
            if member.isdir():
                continue
            if len(folders) > 1:
                raise self._refused("it holds several folders")
            if name in names:
                raise self._refused(f"it holds {_shown(member)} twice")
            names.add(name)
            yield Entry(name, member.size, self._content(archive, member))

    def _content(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
        file = archive.extractfile(member)
        assert file is not None  # a plain file
        with self._told():
            yield from _chunks(file)

    def _place(self, member: tarfile.TarInfo) -> tuple[str, str]:
        """Folder and name of a plain file; of a folder, its name and nothing."""
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise self._refused(f"its entry {_shown(member)} leads out of it")
        is_plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None
        if not (is_plain or member.isdir()):
            raise self._refused(f"its entry {_shown(member)} is neither a file nor a folder")
        if not 0 <= member.size <= LARGEST:
            raise self._refused(f"its entry {_shown(member)} has {member.size} bytes")
        *folders, name = [*path.parts, ""] if member.isdir() else path.parts or [""]
        if len(folders) > 1:
            raise self._refused(f"its entry {_shown(member)} lies in folders of folders")
        return "".join(folders), name

    def _refused(self, why: str) -> BundleError:
        return BundleError(f"{self.name}: not the archive of a bundle: {why}: pack it again")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the archive's readers raise, in one line."""
        try:
            yield
        except _TooLargeError as error:
            raise self._refused(str(error)) from error
        except _DAMAGE as error:
            raise self._refused(f"it is damaged, or no tar.gz ({one_line(str(error), 80)})") from error
        except OSError as error:
            raise self._unreadable(error) from error


class _TooLargeError(Exception):
    """An archive that would fill memory or disk."""


class _Forward(BufferedIOBase):
    """A stream for tarfile that goes forward only, in small steps, and not for ever."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self._at = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= CHUNK:
            raise _TooLargeError("one of its headers is too large")
        data = self._stream.read(size)
        self._at += len(data)
        if self._at > LARGEST:
            raise _TooLargeError(f"it unpacks to more than {LARGEST >> 30} GiB")
        return data

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        if whence != SEEK_SET or offset < self._at:
            raise ValueError("a header that points backwards")
        while offset > self._at and self.read(min(CHUNK, offset - self._at)):
            pass
        return self._at

    def tell(self) -> int:
        return self._at


_DAMAGE = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    OverflowError,
    RecursionError,
)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _shown(member: tarfile.TarInfo) -> str:
    return repr(one_line(member.name, 60))
