"""Archives as they should be, and as somebody who means ill makes them."""

from __future__ import annotations

import errno
import gzip
import io
import os
import random
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.bundles import contents as module
from edge.bundles.contents import Archive, open_contents
from edge.errors import BundleError, InputError
from tests.edge.bundle_makers import pack, pack_entries

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, content: bytes = b"x", **fields: object) -> Entry:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def read(path: Path) -> dict[str, bytes]:
    with open_contents(path) as contents:
        return {each.name: b"".join(each.chunks) for each in contents.entries()}


def refused(path: Path) -> str:
    with pytest.raises(BundleError) as told:
        read(path)
    message = str(told.value)
    assert str(path) in message and message.isprintable()
    return message


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_archive_and_folder_give_the_same(tiny: Path, tmp_path: Path, form: int) -> None:
    archive = tmp_path / "bundle.tgz"
    with tarfile.open(archive, "w:gz", format=form) as tar:
        tar.add(tiny, "bundle")
    assert read(archive) == read(tiny) == {path.name: path.read_bytes() for path in tiny.iterdir()}


@pytest.mark.parametrize("folder", ["", "./", "bundle/", "./bundle/"])
def test_the_folder_that_was_packed_does_not_matter(tmp_path: Path, folder: str) -> None:
    directory = [entry(folder, b"", type=tarfile.DIRTYPE)] if folder else []
    archive = pack_entries(tmp_path / "a.tar.gz", [*directory, entry(f"{folder}one"), entry(f"{folder}two")])
    assert set(read(archive)) == {"one", "two"}


def test_entries_can_be_read_again_and_need_not_be_read(tiny: Path, tmp_path: Path) -> None:
    with open_contents(pack(tiny, tmp_path / "a.tar.gz")) as contents:
        first = [each.name for each in contents.entries()]
        assert first == [each.name for each in contents.entries()] and len(first) == 7
        next(iter(contents.entries()))
        assert [each.size for each in contents.entries()] == [(tiny / name).stat().st_size for name in first]


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([entry("/etc/cron.d/x")], "leads out of it"),
        ([entry("../x")], "leads out of it"),
        ([entry("bundle/../../x")], "leads out of it"),
        ([entry("a/b/x")], "folders of folders"),
        ([entry("x", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "neither a file nor a folder"),
        ([entry("y"), entry("x", b"", type=tarfile.LNKTYPE, linkname="y")], "neither a file nor a folder"),
        ([entry("x", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5)], "neither a file nor a folder"),
        ([entry("x", b"", type=tarfile.BLKTYPE)], "neither a file nor a folder"),
        ([entry("x", b"", type=tarfile.FIFOTYPE)], "neither a file nor a folder"),
        ([entry("x", b"", type=tarfile.GNUTYPE_SPARSE)], "neither a file nor a folder"),
        ([entry("x"), entry("x", b"other")], "twice"),
        ([entry("bundle/x"), entry("bundle/./x")], "twice"),
        ([entry("one/x"), entry("two/x")], "several folders"),
        ([entry(f"x{n}", b"") for n in range(module.MOST_ENTRIES + 1)], "more than 256"),
        ([entry("\x1b[2J\n")] * 2, "'?[2J?' twice"),
    ],
)
def test_what_no_bundle_has(tmp_path: Path, entries: list[Entry], reason: str) -> None:
    assert reason in refused(pack_entries(tmp_path / "bad.tar.gz", entries))


def test_sizes_that_lie(tmp_path: Path) -> None:
    """A size below nothing would send a reader backwards for ever; one beyond all is not believed."""
    for name, size, reason in (("below", -512, ""), ("beyond", 1 << 40, "bytes")):
        info, _ = entry("x")
        info.size = size
        path = tmp_path / f"{name}.tar.gz"
        path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048)))
        assert reason in refused(path)


def test_a_header_that_would_fill_the_memory(tmp_path: Path) -> None:
    """A name of 64 MiB costs 64 KiB packed."""
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE):
        info, content = entry("x", bytes(64 << 20), type=kind)
        path = tmp_path / "bad.tar.gz"
        path.write_bytes(gzip.compress(info.tobuf() + content))
        tracemalloc.start()
        assert "too large" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        tracemalloc.stop()


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 8 << 20)
    path = pack_entries(tmp_path / "bad.tar.gz", [entry(f"x{n}", bytes(1 << 20)) for n in range(9)])
    assert path.stat().st_size < 20_000
    assert "unpacks to more than" in refused(path)


def test_headers_upon_headers(tmp_path: Path) -> None:
    """Each names the next one: tarfile calls itself for each."""
    info, content = entry("x", bytes(512), type=tarfile.XHDTYPE)
    path = tmp_path / "bad.tar.gz"
    path.write_bytes(gzip.compress((info.tobuf() + content) * 3000))
    refused(path)


def test_every_cut_and_a_thousand_damages(tiny: Path, tmp_path: Path) -> None:
    """Whatever happens to an archive: its own content, or less, or one line."""
    whole = gzip.decompress(pack(tiny, tmp_path / "whole.tar.gz").read_bytes())
    chance, path = random.Random(1), tmp_path / "bad.tar.gz"

    def damaged() -> Iterator[bytes]:
        packed = gzip.compress(whole, 1)
        for _ in range(100):
            yield packed[: chance.randrange(len(packed))]
        for _ in range(200):
            yield _changed(packed, chance, len(packed))
        heads = [at for at in range(0, len(whole), 512) if whole[at + 257 : at + 262] == b"ustar"]
        for _ in range(700):
            yield gzip.compress(_changed(whole, chance, 512, chance.choice(heads)), 1)

    for content in damaged():
        path.write_bytes(content)
        try:
            read(path)
        except BundleError as error:
            assert str(error).isprintable()


def _changed(data: bytes, chance: random.Random, span: int, start: int = 0) -> bytes:
    """Some bytes are others; a tar's header gets a checksum that fits, so that its reader believes it."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        changed[start + chance.randrange(span)] = chance.choice(b"\x00\xff\x80012345678xgLK/.")
    if span == 512:
        header = changed[start : start + 512]
        header[148:156] = b" " * 8
        changed[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    return bytes(changed)


class TestFolder:
    def test_links_and_fifos_are_no_files_of_it(self, tmp_path: Path) -> None:
        (tmp_path / "plain").write_bytes(b"plain")
        (tmp_path / "link").symlink_to(tmp_path / "plain")
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "folder").mkdir()
        assert read(tmp_path) == {"plain": b"plain"}


@pytest.mark.parametrize("make", [lambda path: None, Path.touch, lambda path: os.mkfifo(path)])
@pytest.mark.parametrize("name", ["nothing.tar.gz", "prose.txt", "null\0.tar.gz"])
def test_what_cannot_be_opened(tmp_path: Path, name: str, make: Callable[[Path], object]) -> None:
    path = tmp_path / name
    if "\0" not in name:
        make(path)
    if path.name == "nothing.tar.gz" and make is Path.touch:
        assert "damaged" in refused(path) or "no tar.gz" in refused(path)
        return
    with pytest.raises(InputError, match=r"give a (tar\.gz or a folder|bundle)"):
        open_contents(path)


def test_an_archive_belongs_to_who_opened_it(tiny: Path, tmp_path: Path) -> None:
    contents = open_contents(pack(tiny, tmp_path / "a.tar.gz"))
    contents.close()
    with pytest.raises(ValueError, match="closed"):
        list(contents.entries())


class _Pulled(io.BytesIO):
    """A stick that is pulled out after so many bytes."""

    def __init__(self, content: bytes, left: int) -> None:
        super().__init__(content)
        self._left = left

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self._left -= len(content)
        if self._left < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return content


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_a_stick_that_is_pulled(share: float, tiny: Path, tmp_path: Path) -> None:
    content = pack(tiny, tmp_path / "a.tar.gz").read_bytes()
    with pytest.raises(InputError, match=r"^stick/a\.tar\.gz: cannot be read: Input/output error: look at the disk"):
        for each in Archive(_Pulled(content, int(share * len(content))), "stick/a.tar.gz").entries():
            list(each.chunks)


def test_a_stick_that_is_pulled_with_a_folder_on_it(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_plain", lambda path, follow_links: _Pulled(path.read_bytes(), 10))
    with open_contents(tiny) as contents, pytest.raises(InputError, match="cannot be read: Input/output error"):
        for each in contents.entries():
            list(each.chunks)
