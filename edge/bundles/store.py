"""The bundles that were installed on a unit, in `<state_dir>/bundles`: a folder for each, and state.json.

::

    state.json                          which one runs, see state.py
    site-1.2-0a1b2c3d4e5f/              <name>-<version>-<sha256 of the manifest>
    .incoming-*/                        what is being written, or was when the power went
    .lock, .install.lock                held for one step of the state; for one installation

A bundle takes its place whole: it is written beside, synced, renamed. The service and any number of commands may use
the store at once, also those of another user who may write there.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from pydantic import ValidationError

from edge.atomic import remove_leftovers, sync, write_atomic
from edge.bundles.bundle import DEMO_BUNDLE, read_manifest
from edge.bundles.files import read_plain
from edge.bundles.manifest import explain
from edge.bundles.state import SHIPPED, State
from edge.errors import BundleError, RefusedError, TapetumError

STATE = "state.json"
LARGEST_STATE = 1 << 20
_INCOMING = ".incoming-"
_BUNDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}-[0-9a-f]{12}")


class BundleStore:
    """See above. Nothing is written before something is installed or changed.

    Raises, from all methods:
        TapetumError: the store cannot be read or written: one line, with the cure.
    """

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir.absolute() / "bundles"

    def path(self, bundle: str) -> Path:
        """The folder of a bundle."""
        return DEMO_BUNDLE if bundle == SHIPPED else self.folder / bundle

    def installed(self) -> list[str]:
        """All bundles of the store, by name."""
        with self._told(self.folder):
            return sorted(path.name for path in self.folder.glob("*") if _BUNDLE.fullmatch(path.name))

    def find(self, name: str) -> str:
        """The one bundle that is meant: by its whole name, or as much of it as tells it from the others.

        Raises:
            BundleError: there is none, or there are several.
        """
        everything = [SHIPPED, *self.installed()]
        if name in everything:
            return name
        found = [bundle for bundle in everything if bundle.startswith(f"{name}-")]
        if len(found) == 1:
            return found[0]
        known = ", ".join(found or everything)
        raise BundleError(
            f"{'several bundles are' if found else 'no bundle is'} named {name!r}: choose one of {known}"
        )

    def activate(self, name: str, *, untried: bool = False) -> State:
        """Make a bundle the candidate that the service tries next; untried, it takes over as it is.

        Raises:
            BundleError: there is no such bundle, or several.
        """
        bundle = self.find(name)
        return self.change(lambda state: state.forced(bundle) if untried else state.asked(bundle))

    def rollback(self) -> State:
        """Go back to the bundle before the active one, at once; what waits for its trial is not tried.

        Raises:
            RefusedError: the active one is the first.
        """

        def step(state: State) -> State:
            if state.active == SHIPPED and state.previous is None:
                raise RefusedError("there is no bundle to go back to: the one that came with Tapetum is active")
            return state.rolled_back(state.active, "asked for").withdrawn()

        return self.change(step)

    @property
    def stamp(self) -> tuple[int, int]:
        """Changes whenever the state does."""
        try:
            status = (self.folder / STATE).stat()
        except OSError:
            return 0, 0
        return status.st_ino, status.st_mtime_ns

    def state(self) -> State:
        """The state as it is now.

        Raises:
            BundleError: the file is damaged; `change` sets it aside and begins a new one.
        """
        path = self.folder / STATE
        try:
            content = read_plain(path, LARGEST_STATE)
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise TapetumError(f"{path}: cannot read the state of the bundles: {error.strerror}") from error
        try:
            return State.model_validate_json(content)
        except ValidationError as error:
            cure = "run tapetum-edge bundle activate, or restart the service"
            raise BundleError(f"{path}: damaged: {explain(error)}: {cure}") from error

    def change(self, step: Callable[[State], State]) -> State:
        """Take a step and return its result, once that is on the disk. Nobody else takes one meanwhile."""
        self._make()
        with self._told(self.folder / STATE), _locked(self.folder / ".lock"):
            remove_leftovers(self.folder)
            before = self._state_or_new()
            after = step(before)
            if after is not before:
                self._write(after)
            return after

    @contextmanager
    def installing(self) -> Iterator[Path]:
        """Lend an empty folder for what is to become a bundle; it is removed at the end unless `take` took it.

        Raises:
            TapetumError: another installation is running.
        """
        self._make()
        with self._told(self.folder), _locked(self.folder / ".install.lock", wait=False):
            self._clear()
            incoming = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self.folder))
            incoming.chmod(0o750)
            try:
                yield incoming
            finally:
                self._clear()

    @contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        """Lend an empty file on the store's disk. It has no name, and is gone when the process is."""
        self._make()
        with self._told(self.folder), tempfile.TemporaryFile(dir=self.folder) as file:
            yield cast(BinaryIO, file)

    def take(self, incoming: Path, bundle: str) -> None:
        """Make a written folder, whose files are on the disk, a bundle of the store, in place of one of its name."""
        with self._told(self.folder):
            sync(incoming)
            place = self.folder / bundle
            if place.exists():
                place.rename(self._aside())
            incoming.rename(place)
            sync(self.folder)

    def prune(self, keep: int) -> list[str]:
        """Remove bundles that nothing refers to, but for the `keep` ones that were installed last.

        Returns:
            Those that were removed.
        """
        removed: list[str] = []
        with self._told(self.folder), _locked(self.folder / ".lock"):
            used = self._state_or_new().used()
            idle = [bundle for bundle in self.installed() if bundle not in used]
            idle.sort(key=lambda bundle: (self.folder / bundle).stat().st_mtime_ns, reverse=True)
            for bundle in idle[keep:]:
                aside = (self.folder / bundle).rename(self._aside())
                sync(self.folder)  # else half of it may stand in its place after a power cut
                shutil.rmtree(aside, ignore_errors=True)
                removed.append(bundle)
        return removed

    def clear(self) -> None:
        """Remove what interrupted installations left behind, unless one is running."""
        if self.folder.is_dir():
            lock = _locked(self.folder / ".install.lock", wait=False)
            with self._told(self.folder), suppress(BlockingIOError), lock:
                self._clear()

    def _clear(self) -> None:
        for path in self.folder.glob(f"{_INCOMING}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _aside(self) -> Path:
        return self.folder / f"{_INCOMING}{os.urandom(4).hex()}"

    def _make(self) -> None:
        with self._told(self.folder):
            if not self.folder.is_dir():
                self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
                sync(self.folder.parent)

    def _state_or_new(self) -> State:
        try:
            return self.state()
        except BundleError:
            (self.folder / STATE).replace(self.folder / f"{STATE}.damaged")
            state = self._rebuilt()
            self._write(state)
            return state

    def _write(self, state: State) -> None:
        write_atomic(self.folder / STATE, state.model_dump_json(indent=2).encode() + b"\n")

    def _rebuilt(self) -> State:
        """What the store itself tells: the shipped bundle runs, and the newest one that is there is to be tried."""
        manifests = []
        for bundle in self.installed():
            with suppress(TapetumError):
                manifests.append((bundle, read_manifest(self.folder / bundle)))
        state = State()
        for bundle, manifest in sorted(manifests, key=lambda each: each[1].created_at):
            state = state.installed(bundle, manifest)
        return state

    @contextmanager
    def _told(self, path: Path) -> Iterator[None]:
        """Faults of the disk in one line."""
        try:
            yield
        except BlockingIOError as error:
            raise TapetumError("another installation is running: wait for its end, then try again") from error
        except OSError as error:
            reason = f"{error.filename or path}: {error.strerror}"
            raise TapetumError(
                f"the bundle store cannot be changed: {reason}: look at the disk's space, and who may write there"
            ) from error


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock that the kernel takes back when its holder dies.

    Raises:
        BlockingIOError: somebody else holds it, and `wait` is off.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)
