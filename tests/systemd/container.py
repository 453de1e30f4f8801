"""A clean system of this machine's release, booted with its own systemd: debootstrap and systemd-nspawn.

What is downloaded stays in `.cache/debootstrap`, so that later runs need no network.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.waiting import until

CACHE = Path(__file__).parents[2] / ".cache" / "debootstrap"
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_S = 120.0


def why_not() -> str | None:
    """What keeps this machine from booting containers; None where nothing does."""
    if os.geteuid() != 0:
        return "only root may boot a container"
    if missing := [tool for tool in ("debootstrap", "systemd-nspawn", "nsenter") if not shutil.which(tool)]:
        return f"{', '.join(missing)} missing: apt-get install debootstrap systemd-container util-linux"
    probe = ["unshare", "--mount", "--pid", "--fork", "--net", "--cgroup", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    result = subprocess.run(probe, capture_output=True, text=True)
    return f"containers are not allowed here: {result.stderr.strip()}" if result.returncode else None


@contextlib.contextmanager
def clean_system(*debs: Path) -> Iterator[Path]:
    """The tree of a minimal system with the packages that `debs` depend on downloaded, not installed."""
    tree = CACHE / f"unit-{os.getpid()}"
    try:
        with _only_here():
            base = _base()
            _download(base, debs)
            subprocess.run(["cp", "-a", "--reflink=auto", base, tree], check=True)
        yield tree
    finally:
        _remove(*CACHE.glob(f"{tree.name}*"))


@contextlib.contextmanager
def _only_here() -> Iterator[None]:
    """One process at a time; what one that was killed has left is removed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        left = [path for path in CACHE.glob("unit-*") if not Path("/proc", re.findall(r"\d+", path.name)[0]).exists()]
        _remove(*left)
        yield


def _download(base: Path, debs: Sequence[Path]) -> None:
    """Into the tree's cache of apt: the packages that are needed and not there yet."""
    copies = [Path(shutil.copy(deb, base / "root")) for deb in debs]
    names = " ".join(f"/root/{copy.name}" for copy in copies)
    get = f"apt-get install --download-only --yes --no-install-recommends {names}"
    try:
        _in_tree(base, f"{get} || {{ apt-get update && {get}; }}")
    finally:
        _remove(*copies)


def _remove(*paths: Path) -> None:
    subprocess.run(["rm", "-rf", "--one-file-system", *paths], check=True)


def _base() -> Path:
    """The minimal system, made once."""
    release = platform.freedesktop_os_release()
    base = CACHE / f"{release['ID']}-{release['VERSION_CODENAME']}-{platform.machine()}"
    if not base.exists():
        part = base.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        components = "main,universe" if release["ID"] == "ubuntu" else "main"
        command = ["debootstrap", "--variant=minbase", "--include=systemd-sysv,dbus,udev"]
        subprocess.run([*command, f"--components={components}", release["VERSION_CODENAME"], part], check=True)
        part.rename(base)
    return base


def _in_tree(tree: Path, script: str) -> None:
    """Run a shell script in a tree that is not booted, with this machine's network."""
    options = ["--pipe", "--resolv-conf=replace-host", "--setenv=DEBIAN_FRONTEND=noninteractive"]
    with _own_cgroup() as join:
        command = [*join, *_nspawn(tree), *options, "sh", "-ec", script]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _nspawn(tree: Path) -> list[str]:
    return ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--directory={tree}", *_without_sync()]


@contextlib.contextmanager
def _own_cgroup() -> Iterator[list[str]]:
    """A cgroup, removed at the end, and the command that runs another in it and ends with this process."""
    group = _cgroup_root() / f"tapetum-test-{os.getpid()}"
    group.mkdir()
    try:
        yield ["setpriv", "--pdeathsig", "TERM", "sh", "-c", f'echo $$ >"{group}/cgroup.procs"; exec "$@"', "sh"]
    finally:
        for folder in sorted(group.glob("**/"), reverse=True):  # the innermost first
            folder.rmdir()


class Container:
    """A tree, booted between `with` and its end. It has no network but loopback, no camera and no broker."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._console = tree.with_name(f"{tree.name}.console")
        self._process: subprocess.Popen[bytes] | None = None
        self._init: int | None = None
        self._parts = contextlib.ExitStack()

    def __enter__(self) -> Container:
        with self._parts as starting:
            self._join = starting.enter_context(_own_cgroup())
            starting.callback(self._power_off)
            self._boot()
            self._parts = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def reboot(self) -> None:
        """Off and on again."""
        self._power_off()
        self._boot()

    def cut_power(self) -> None:
        """Everything inside ends at once; then it is on again."""
        assert self._process is not None
        assert self._init is not None
        os.kill(self._init, signal.SIGKILL)
        self._process.wait(BOOT_S)
        self._boot()

    def run(self, script: str, timeout_s: float = 60.0, *, check: bool = True) -> str:
        """What a shell script, run by root inside, wrote to its outputs.

        Raises:
            AssertionError: it failed, and `check` is set.
        """
        result = self._enter("env", "-i", PATH, "LC_ALL=C.UTF-8", "sh", "-ec", script, timeout_s=timeout_s)
        assert result.returncode == 0 or not check, f"{script}\n{result.stdout}"
        return result.stdout.strip()

    @property
    def in_network(self) -> list[str]:
        """The command that runs a program of this machine in the container's network."""
        return ["nsenter", "--target", str(self._init), "--net"]

    def _enter(self, *command: str, timeout_s: float = 20.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", "--target", str(self._init), *NAMESPACES, "--root", "--wd", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )

    def _boot(self) -> None:
        # The capabilities and the system call let the systemd inside enforce DeviceAllow=.
        command = [*_nspawn(self.tree), "--boot", "--private-network", "--capability=all", "--system-call-filter=bpf"]
        command += ["--link-journal=no", "--resolv-conf=off", "--timezone=off"]
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                [*self._join, *command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        until(self._is_up, BOOT_S)

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._console.read_text(errors="replace")
        pid = self._process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError):  # nspawn's first child makes the second and ends
                if Path(f"/proc/{child}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
                    self._init = int(child)
                    return self._enter("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")
        return False

    def _power_off(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None and self._init is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._enter("systemctl", "poweroff")
        try:
            self._process.wait(BOOT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _cgroup_root() -> Path:
    """Where cgroups of version 2 are mounted: alone, or beside those of version 1."""
    beside = Path("/sys/fs/cgroup/unified")
    return beside if beside.exists() else Path("/sys/fs/cgroup")


def _without_sync() -> list[str]:
    """What is thrown away afterwards need not reach the disk."""
    version = subprocess.run(["systemd-nspawn", "--version"], capture_output=True, text=True).stdout.split()[1]
    return ["--suppress-sync=yes"] if int(version) >= 250 else []
