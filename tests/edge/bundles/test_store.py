"""The store under commands, damage, and other hands."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge.bundles.state import SHIPPED, State
from edge.bundles.store import STATE, BundleStore
from edge.bundles.versions import Release
from edge.errors import BundleError, RefusedError, TapetumError
from tests.edge.bundle_makers import release, stored


@pytest.fixture
def three(tiny: Path, store: BundleStore, tmp_path: Path) -> list[str]:
    return [stored(store, release(tiny, tmp_path / f"1.{n}", f"1.{n}")) for n in range(3)]


def test_nothing_is_written_before_something_is_installed(store: BundleStore) -> None:
    assert store.state() == State() and store.installed() == [] and store.stamp == (0, 0)
    store.clear()
    assert not store.folder.exists()


def test_a_bundle_is_found_by_what_tells_it_apart(three: list[str], store: BundleStore) -> None:
    assert store.find(three[1]) == three[1]
    assert store.find("tiny-1.2") == three[2]
    assert store.find(SHIPPED) == SHIPPED
    with pytest.raises(BundleError, match=r"several bundles are named 'tiny': choose one of tiny-1\.0"):
        store.find("tiny")
    for name in ("tin", "", "../state", "\n"):
        with pytest.raises(BundleError, match="no bundle is named"):
            store.find(name)


def test_every_change_is_seen(three: list[str], store: BundleStore) -> None:
    stamp = store.stamp
    store.change(lambda state: state)
    assert store.stamp == stamp
    store.activate(three[0])
    assert store.stamp != stamp
    assert store.state().tries(three[0])


def test_a_rollback_goes_to_the_one_before_and_then_to_the_first(three: list[str], store: BundleStore) -> None:
    store.activate(three[0], untried=True)
    store.activate(three[1], untried=True)
    store.activate(three[2])
    assert store.rollback().active == three[0]
    assert store.state().candidate is None
    assert store.rollback().active == SHIPPED
    with pytest.raises(RefusedError, match="no bundle to go back to"):
        store.rollback()


def test_only_what_is_needed_and_some_more_stays(tiny: Path, store: BundleStore, tmp_path: Path) -> None:
    names = []
    for number in range(6):
        names.append(stored(store, release(tiny, tmp_path / f"{number}", f"1.{number}")))
        os.utime(store.path(names[-1]), (number, number))
    store.activate(names[0], untried=True)
    store.activate(names[1], untried=True)
    store.activate(names[2])
    assert store.prune(1) == [names[4], names[3]]
    assert store.installed() == [names[0], names[1], names[2], names[5]]


def add(store: BundleStore, prefix: str) -> None:
    """Twenty steps, none of which knows of the others."""
    one = Release(version="1", created_at=datetime(2024, 1, 1, tzinfo=timezone.utc))
    for number in range(20):
        key = f"{prefix}{number}"
        store.change(lambda state, key=key: state.model_copy(update={"newest": {**state.newest, key: one}}))  # type: ignore[misc]


def test_steps_from_many_hands_are_all_taken(store: BundleStore) -> None:
    """Threads here, and another process."""
    program = "import sys; from pathlib import Path; from tests.edge.bundles.test_store import add;"
    program += "from edge.bundles.store import BundleStore; add(BundleStore(Path(sys.argv[1])), 'c')"
    command = [sys.executable, "-c", program, str(store.folder.parent)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3])
    threads = [threading.Thread(target=add, args=(store, prefix)) for prefix in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert process.wait(60) == 0
    assert len(store.state().newest) == 60


class TestDamage:
    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 2}', b'{"active": "../x"}', b"\xff" * 100])
    def test_a_damaged_state_is_told_and_set_aside(
        self, content: bytes, three: list[str], store: BundleStore
    ) -> None:
        (store.folder / STATE).write_bytes(content)
        with pytest.raises(BundleError, match="damaged"):
            store.state()
        state = store.change(lambda state: state)
        assert state.active == SHIPPED and state.tries(three[2]), "the newest one that is there is tried again"
        assert state.newest["tiny"].version == "1.2"
        assert store.state() == state
        assert (store.folder / f"{STATE}.damaged").read_bytes() == content

    def test_a_fifo(self, three: list[str], store: BundleStore) -> None:
        (store.folder / STATE).unlink()
        os.mkfifo(store.folder / STATE)
        with pytest.raises(TapetumError, match="it is no file"):
            store.state()

    def test_a_place_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(TapetumError, match=r"cannot be changed: .*Not a directory"):
            BundleStore(tmp_path / "file").change(lambda state: state.asked("x-000000000000"))

    def test_a_lock_that_is_a_link(self, store: BundleStore, tmp_path: Path) -> None:
        """The service's user cannot make root open a file of its choice."""
        store.folder.mkdir(parents=True)
        (store.folder / ".lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(TapetumError, match="symbolic links"):
            store.change(lambda state: state)
        assert not (tmp_path / "elsewhere").exists()


def test_a_scratch_file_has_no_name(store: BundleStore) -> None:
    with store.scratch() as file:
        file.write(b"x")
        assert [path.name for path in store.folder.iterdir()] == []
