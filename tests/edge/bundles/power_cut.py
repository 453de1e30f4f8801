"""Cuts the power of a unit while bundles come and go, and looks at what is left: `python -m`, one JSON object out.

Each cut is a forked process that installs a bundle and takes it through its life, killed with SIGKILL before or after
one of its operations on the file system, or at a random time. Then what no `fsync` had put on the disk is lost: files
that were written get a random shorter length, and names that were made, moved or replaced may go back, each for
itself: POSIX promises no order. Removals are not taken back.

It is a process without threads that forks: nothing here imports OpenVINO, GStreamer or numpy.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.bundles.bundle import MANIFEST, load_bundle, read_manifest
from edge.bundles.contents import open_contents
from edge.bundles.install import install
from edge.bundles.state import SHIPPED
from edge.bundles.store import STATE, BundleStore

WRITES = os.O_WRONLY | os.O_RDWR
_fsync = os.fsync


class Journal:
    """What a process did to the file system, told to a pipe line by line; it dies before operation `last`."""

    def __init__(self, folder: Path, backups: Path, pipe: int, last: int) -> None:
        self._folder, self._backups, self._pipe, self._last = str(folder), backups, pipe, last
        self.count = 0
        self._is_busy = False

    def start(self) -> None:
        sys.addaudithook(self._hear)
        os.fsync = self._sync  # type: ignore[assignment]

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._is_busy or event.split(".")[0] not in ("open", "os", "shutil", "tempfile"):
            return
        self._is_busy = True
        try:
            self._note(event, arguments)
        finally:
            self._is_busy = False

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        path = os.fspath(arguments[0]) if arguments and isinstance(arguments[0], (str, os.PathLike)) else ""
        if event == "open" and not (arguments[2] & WRITES and path.startswith(self._folder)):
            return
        if event not in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod"):
            return
        self._step()
        if event == "open" and not Path(path).name.endswith("lock"):
            self._tell("create" if not Path(path).exists() else "write", path)
        elif event == "os.rename":
            target = os.fspath(arguments[1])
            backup = ""
            if Path(target).is_file():
                backup = str(self._backups / f"{self.count}")
                shutil.copyfile(target, backup)
            self._tell("rename", path, target, backup)
        elif event == "os.mkdir":
            self._tell("mkdir", path)
        elif event in ("os.remove", "os.rmdir"):
            self._tell("gone", path)

    def _sync(self, descriptor: int) -> None:
        self._step()
        _fsync(descriptor)
        self._tell("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        self._step()

    def _step(self) -> None:
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def _tell(self, *words: str) -> None:
        os.write(self._pipe, ("\t".join(words) + "\n").encode())


def lose_unsynced(lines: list[list[str]], chance: random.Random) -> None:
    """What a power cut does to what is not on the disk yet."""
    for path in unsynced(lines):
        if path.is_file():
            os.truncate(path, chance.randint(0, path.stat().st_size))
    for number in reversed(range(len(lines))):
        line = lines[number]
        if line[0] not in ("create", "rename", "mkdir"):
            continue
        folder = str(Path(line[2] if line[0] == "rename" else line[1]).parent)
        if ["sync", folder] not in lines[number:] and chance.random() < 0.5:
            take_back([line[0], *(moved(path, lines[number + 1 :]) for path in line[1:])])


def moved(path: str, lines: list[list[str]]) -> str:
    """Where a file or folder is after these operations."""
    for line in lines:
        if line[0] == "rename" and (path == line[1] or path.startswith(line[1] + "/")):
            path = line[2] + path[len(line[1]) :]
    return path


def unsynced(lines: list[list[str]]) -> set[Path]:
    """Files that were written and not synced after, where they are now."""
    written: set[str] = set()
    for line in lines:
        if line[0] in ("create", "write"):
            written.add(line[1])
        elif line[0] == "sync":
            written.discard(line[1])
        elif line[0] == "rename":
            written = {moved(path, [line]) for path in written}
    return set(map(Path, written))


def take_back(line: list[str]) -> None:
    kind, path = line[0], Path(line[1])
    if kind == "rename" and Path(line[2]).exists():
        Path(line[2]).rename(path)
        if line[3]:
            shutil.copyfile(line[3], line[2])
    elif kind == "create" and path.is_file():
        path.unlink()
    elif kind == "mkdir" and path.is_dir():
        shutil.rmtree(path)


def live(store: BundleStore, source: Path) -> None:
    """The life of one bundle: installed, tried, switched to, and proven or rolled back."""
    with open_contents(source) as contents:
        name = install(contents, store, None, allow_older=True).bundle
    store.change(lambda state: state.run_begun())
    store.change(lambda state: state.asked(name))
    store.change(lambda state: state.try_begun(name))
    store.change(lambda state: state.switched(name, "", 600.0))
    is_good = source.name.startswith("odd")
    store.change(lambda state: state.proven(name) if is_good else state.rolled_back(name, "it is even"))
    store.prune(1)


def check(store: BundleStore, next_one: Path) -> None:
    """What a start of the service and an operator after it must find."""
    store.clear()
    state = store.change(lambda state: state)
    assert not list(store.folder.glob(f"{STATE}.*")), "the state was damaged"
    for name in {*state.used()} - {SHIPPED}:
        manifest = load_bundle(store.path(name)).manifest
        for entry in manifest.models.values():
            for graph in entry.precisions.values():
                assert (store.path(name) / graph.file).stat().st_size == graph.bytes
    with open_contents(next_one) as contents:
        name = install(contents, store, None, allow_older=True).bundle
    assert store.state().tries(name) or store.state().active == name
    store.change(lambda state: state.withdrawn())
    assert (store.path(name) / MANIFEST).exists()
    assert not list(store.folder.glob(".incoming-*")), "something was left behind"
    assert not list(store.folder.glob(".state*")), "a state was left behind"


def forked(work: Callable[[], None]) -> int:
    """Start a process; its end is nobody's but its own."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def cut(
    store: BundleStore, source: Path, backups: Path, last: int, after_s: float | None
) -> tuple[bool, list[list[str]]]:
    """One life, killed before operation `last` or after a time; whether it was, and its journal."""
    read, write = os.pipe()

    def work() -> None:
        os.close(read)
        journal = Journal(store.folder, backups, write, last)
        journal.start()
        live(store, source)

    child = forked(work)
    os.close(write)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(read, encoding="utf-8") as pipe:
        lines = [line.rstrip("\n").split("\t") for line in pipe]
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the life of a bundle failed"
    return os.WIFSIGNALED(status), lines


def main(folder: Path, sources: list[Path], cuts: int) -> dict[str, int]:
    chance = random.Random(20240501)
    store, backups = BundleStore(folder / "state"), folder / "backups"
    backups.mkdir()
    (folder / "state").mkdir()
    live(store, sources[0])
    counted = Journal(store.folder, backups, os.open(os.devnull, os.O_WRONLY), -1)
    steps = 0

    def count() -> None:
        counted.start()
        live(store, sources[1])
        os._exit(min(counted.count, 250))

    _, status = os.waitpid(forked(count), 0)
    steps = os.WEXITSTATUS(status)
    told = {"cuts": 0, "steps": steps, "by_time": 0, "files_lost": 0}
    number = 0
    while told["cuts"] < cuts:
        number += 1
        source, next_one = unused(store, sources, chance), unused(store, sources, chance)
        by_time = number % 5 == 0
        last = 1 + (number * steps // cuts + chance.randint(0, 3)) % steps if not by_time else -1
        was_killed, lines = cut(store, source, backups, last, chance.uniform(0, 0.05) if by_time else None)
        if was_killed:
            told["cuts"] += 1
            told["by_time"] += by_time
            told["files_lost"] += len(unsynced(lines))
            lose_unsynced(lines, chance)
        check(store, next_one if next_one != source else unused(store, sources, chance))
    return told


def unused(store: BundleStore, sources: list[Path], chance: random.Random) -> Path:
    """A bundle that is not in the store: it is taken out where it was not in use."""
    used = store.state().used()
    versions = {read_manifest(store.path(name)).version for name in used - {SHIPPED}}
    source = chance.choice([each for each in sources if read_manifest(each).version not in versions])
    for name in store.installed():
        if name not in used and read_manifest(store.path(name)).version == read_manifest(source).version:
            shutil.rmtree(store.path(name))
    return source


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), list(map(Path, sys.argv[3:])), int(sys.argv[2]))))
