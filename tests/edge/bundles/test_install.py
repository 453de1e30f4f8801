"""What comes into the store, and what does not; what does not leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.bundles.bundle import load_bundle, read_manifest
from edge.bundles.contents import open_contents
from edge.bundles.install import SPARE_BYTES, install
from edge.bundles.signature import SIGNATURE, read_public_key
from edge.bundles.store import BundleStore
from edge.errors import BundleError, TapetumError
from tests.edge.bundle_makers import pack, release, sign, stored
from trt_build.signing import make_keys

Keys = tuple[Path, Path]


def put(store: BundleStore, source: Path, keys: Keys | None, *, allow_older: bool = False) -> str:
    key = read_public_key(keys[1]) if keys else None
    with open_contents(source) as contents:
        return install(contents, store, key, allow_older=allow_older).bundle


def left(store: BundleStore) -> list[str]:
    """All but the locks."""
    return sorted(path.name for path in store.folder.iterdir() if not path.name.endswith("lock"))


@pytest.fixture
def signed(tiny: Path, keys: Keys, tmp_path: Path) -> Path:
    return sign(Path(shutil.copytree(tiny, tmp_path / "signed")), keys[0])


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_it_is_the_candidate_then(form: str, signed: Path, keys: Keys, store: BundleStore, tmp_path: Path) -> None:
    source = signed if form == "folder" else pack(signed, tmp_path / "bundle.tar.gz")
    name = put(store, source, keys)
    assert name.startswith("tiny-1.5-") and store.installed() == [name]
    assert store.state().tries(name) and store.state().active == "shipped"
    assert load_bundle(store.path(name), public_key=keys[1]).manifest == read_manifest(signed)
    assert {path.name for path in store.path(name).iterdir()} == {path.name for path in signed.iterdir()}
    assert left(store) == ["state.json", name]


def test_what_the_manifest_does_not_name_stays_outside(signed: Path, keys: Keys, store: BundleStore) -> None:
    (signed / "readme.txt").write_text("not signed")
    name = put(store, signed, keys)
    assert not (store.path(name) / "readme.txt").exists()


def test_progress_goes_to_the_end(tiny: Path, store: BundleStore) -> None:
    told: list[tuple[int, int]] = []
    with open_contents(tiny) as contents:
        install(contents, store, None, on_progress=lambda done, total: told.append((done, total)))
    total = sum(path.stat().st_size for path in tiny.glob("*.onnx"))
    assert told == sorted(told) and told[-1] == (total, total)


class TestSignature:
    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda folder: (folder / SIGNATURE).unlink(), "not signed"),
            (lambda folder: (folder / SIGNATURE).write_text("{}"), "damaged"),
            (lambda folder: (folder / SIGNATURE).write_bytes(b" " * 5000), "over 4096 bytes"),
            (lambda folder: release(folder, folder, "1.6"), "altered after it was signed"),
            (lambda folder: (folder / "manifest.json").write_bytes(b"{" * (5 << 20)), "over 4194304 bytes"),
            (lambda folder: (folder / "manifest.json").unlink(), "has no manifest.json"),
            (lambda folder: (folder / "context_int8.onnx").unlink(), "lacks context_int8.onnx"),
            (lambda folder: _flip(folder / "context_int8.onnx"), "context_int8.onnx is not the file"),
            (lambda folder: _grow(folder / "recognizer_fp32.onnx"), "recognizer_fp32.onnx is not the file"),
        ],
    )
    @pytest.mark.parametrize("form", ["folder", "archive"])
    def test_what_was_altered(
        self,
        spoil: Callable[[Path], object],
        reason: str,
        form: str,
        signed: Path,
        keys: Keys,
        store: BundleStore,
        tmp_path: Path,
    ) -> None:
        spoil(signed)
        source = signed if form == "folder" else pack(signed, tmp_path / "bundle.tar.gz")
        with pytest.raises(BundleError, match=reason) as told:
            put(store, source, keys)
        assert str(source) in str(told.value)
        assert not store.folder.exists() or left(store) == []

    def test_another_signer(self, signed: Path, store: BundleStore, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="another key"):
            put(store, signed, make_keys(tmp_path / "other"))

    def test_nothing_of_an_unsigned_manifest_is_read(self, signed: Path, keys: Keys, store: BundleStore) -> None:
        (signed / "manifest.json").write_text("no JSON")
        with pytest.raises(BundleError, match="altered after it was signed"):
            put(store, signed, keys)

    def test_a_fifo_in_its_place_keeps_nobody_waiting(self, signed: Path, keys: Keys) -> None:
        (signed / SIGNATURE).unlink()
        os.mkfifo(signed / SIGNATURE)
        with pytest.raises(BundleError, match="cannot read the signature: it is no file"):
            load_bundle(signed, public_key=keys[1])


class TestOlder:
    def test_an_older_bundle_is_refused_unless_insisted_on(
        self, tiny: Path, store: BundleStore, tmp_path: Path
    ) -> None:
        new, old = (release(tiny, tmp_path / version, version) for version in ("1.10", "1.9"))
        put(store, new, None)
        with pytest.raises(BundleError, match=r"version 1\.9 .* older than 1\.10 .* --allow-older"):
            put(store, old, None)
        assert len(store.installed()) == 1
        put(store, old, None, allow_older=True)
        assert store.state().newest["tiny"].version == "1.10", "what is newest does not come down again"

    def test_an_old_bundle_does_not_come_in_by_another_name(
        self, tiny: Path, store: BundleStore, tmp_path: Path
    ) -> None:
        put(store, release(tiny, tmp_path / "new", "1.10"), None)
        with pytest.raises(BundleError, match="older"):
            put(store, release(tiny, tmp_path / "old", "7.9", name="other"), None)
        put(store, release(tiny, tmp_path / "other", "0.11", name="other"), None)

    def test_it_holds_when_the_bundle_is_gone(self, tiny: Path, store: BundleStore, tmp_path: Path) -> None:
        for version in ("1.1", "1.2", "1.3"):
            stored(store, release(tiny, tmp_path / version, version))
        store.change(lambda state: state.withdrawn())
        store.prune(1)
        assert len(store.installed()) == 1
        with pytest.raises(BundleError, match="older"):
            put(store, tmp_path / "1.2", None)


class TestAgain:
    def test_the_same_bundle_is_not_written_twice(self, tiny: Path, store: BundleStore) -> None:
        name = stored(store, tiny)
        inode = (store.path(name) / "manifest.json").stat().st_ino
        assert stored(store, tiny) == name
        assert (store.path(name) / "manifest.json").stat().st_ino == inode

    def test_it_mends_what_is_damaged(self, tiny: Path, store: BundleStore) -> None:
        name = stored(store, tiny)
        _flip(store.path(name) / "context_fp32.onnx")
        stored(store, tiny)
        load_bundle(store.path(name))
        assert left(store) == ["state.json", name]

    def test_it_changes_nothing_where_it_is_active(self, tiny: Path, store: BundleStore) -> None:
        store.activate(stored(store, tiny), untried=True)
        stored(store, tiny)
        assert store.state().candidate is None


class TestDisk:
    def test_too_little_room_is_told_before_anything_is_written(
        self, tiny: Path, store: BundleStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, SPARE_BYTES))
        with pytest.raises(TapetumError, match=r"needs 0\.0 MiB, and 16 more must stay free"):
            stored(store, tiny)
        assert left(store) == []

    def test_a_disk_that_is_full_after_all(
        self, tiny: Path, store: BundleStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("edge.bundles.install.os.fsync", _full)
            with pytest.raises(TapetumError, match="No space left on device: look at the disk's space"):
                stored(store, tiny)
        assert left(store) == []
        stored(store, tiny)

    def test_a_version_that_would_fill_the_state(self, tiny: Path, store: BundleStore, tmp_path: Path) -> None:
        long = release(tiny, tmp_path / "long", f"{'9' * 99}.1")
        with pytest.raises(BundleError, match="version: String should have at most 100 characters"):
            put(store, long, None)
        assert not store.folder.exists()

    def test_two_at_once(self, tiny: Path, store: BundleStore) -> None:
        stored(store, tiny)
        with (store.folder / ".install.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(TapetumError, match="another installation is running"):
                stored(store, tiny)

    def test_what_a_power_cut_left_is_removed(self, tiny: Path, store: BundleStore) -> None:
        store.folder.mkdir(parents=True)
        (store.folder / ".incoming-dead").mkdir()
        (store.folder / ".incoming-dead" / "half.onnx").touch()
        store.clear()
        assert left(store) == []


def _full(descriptor: int) -> None:
    raise OSError(28, os.strerror(28))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")
