"""Memory that runs out: of a group that the unit shares with a greedy neighbour, or else by the unit's own limit."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MIB = 1 << 20
SPARE, GREED = 48 * MIB, 256 * MIB
_HOG = f"memory = bytearray({GREED}); memory[::4096] = b'x' * len(memory[::4096]); import time; time.sleep(60)"


class Group:
    """A control group below our own, where the kernel allows one; `within` starts a command in it."""

    def __init__(self) -> None:
        self._folder, self._limit_file, self._usage_file = _place()
        self._folder.mkdir()
        self._hog: subprocess.Popen[bytes] | None = None
        self._join = f'echo $$ > "{self._folder}/cgroup.procs"'
        first = "echo 1000 > /proc/self/oom_score_adj"  # of the group, the unit is the one to go
        self.within = ("sh", "-c", f'{self._join} && {first} && exec "$@"', "sh")

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()
        while self._folder.exists():
            with suppress(OSError):  # the kernel takes a moment to forget the processes
                self._folder.rmdir()
            time.sleep(0.05)

    def take(self) -> None:
        """A neighbour takes all that is left and more, and the kernel ends the unit."""
        used = int((self._folder / self._usage_file).read_text())
        (self._folder / self._limit_file).write_text(str(used + SPARE))
        hog = [sys.executable, "-c", _HOG]
        self._hog = subprocess.Popen(["sh", "-c", f'{self._join} && exec "$@"', "sh", *hog])

    def give_back(self) -> None:
        if self._hog is not None:
            self._hog.kill()
            self._hog.wait()
            self._hog = None
        (self._folder / self._limit_file).write_text("-1" if "limit_in" in self._limit_file else "max")


def _place() -> tuple[Path, str, str]:
    """A folder to be made, and the names of its files for the limit and the use.

    Raises:
        OSError: the kernel or the machine has no such groups.
    """
    own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    name = f"faults-{os.getpid()}"
    for _, controllers, path in own:
        parent = CGROUPS / controllers / path.lstrip("/")
        if controllers == "memory" and (parent / "memory.limit_in_bytes").exists():
            return parent / name, "memory.limit_in_bytes", "memory.usage_in_bytes"
        if (
            not controllers
            and (parent / "memory.max").exists()
            and "memory" in (parent / "cgroup.subtree_control").read_text()
        ):
            return parent / name, "memory.max", "memory.current"
    raise OSError("no memory control group that a test may divide")


def why_no_group() -> str:
    """Why there can be no group here; empty where there can."""
    try:
        with Group():
            return ""
    except OSError as error:
        return f"memory control groups are not allowed here: {error}"


@contextmanager
def no_more(pid: int) -> Iterator[None]:
    """A process gets no more memory than it has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    before, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), hard))
    yield
    with suppress(ProcessLookupError):  # it could not live with it
        resource.prlimit(pid, resource.RLIMIT_AS, (before, hard))
