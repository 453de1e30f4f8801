"""A link to another network, that of the broker, which can be cut without a word to either side."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

NEAR, FAR = "169.254.77.1", "169.254.77.2"


def why_not() -> str:
    """Why there can be no link here; empty where there can."""
    try:
        with Link():
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        told = " ".join((getattr(error, "stderr", "") or str(error)).split())
        return f"network namespaces are not allowed here: {told}"


class Link:
    """Two virtual interfaces, one here, one in a network namespace of its own; `within` runs a command there."""

    far = FAR

    def __enter__(self) -> Link:
        holder = ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"]
        self._holder = subprocess.Popen(holder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._holder.stdout is not None
        if not self._holder.stdout.readline():
            self._holder.wait()
            raise OSError("unshare --net failed")
        self.within = ("nsenter", "--target", str(self._holder.pid), "--net")
        try:
            self._connect()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        _run("ip", "link", "delete", "near")
        self._end()

    def cut(self) -> None:
        """At the far end: here it looks as if packets vanished."""
        _run(*self.within, "ip", "link", "set", "far", "down")

    def mend(self) -> None:
        _run(*self.within, "ip", "link", "set", "far", "up")

    def _connect(self) -> None:
        peer = ("peer", "name", "far", "netns", str(self._holder.pid))
        _run("ip", "link", "add", "near", "type", "veth", *peer)
        _run("ip", "address", "add", f"{NEAR}/30", "dev", "near")
        _run("ip", "link", "set", "near", "up")
        _run(*self.within, "ip", "link", "set", "lo", "up")
        _run(*self.within, "ip", "address", "add", f"{FAR}/30", "dev", "far")
        _run(*self.within, "ip", "link", "set", "far", "up")

    def _end(self) -> None:
        self._holder.kill()
        self._holder.communicate()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def loopback_up(within: Sequence[str] = ()) -> None:
    """In a new network namespace even loopback is down."""
    _run(*within, "ip", "link", "set", "lo", "up")
