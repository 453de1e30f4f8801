"""The faults. Each is a context manager: it holds within the block and is over behind it; one that has no length is
over at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults import disk, link, memory, viewers
from tests.faults.station import PASSWORDS, Station

DAY_S = 86_400.0
BIT_ERRORS = 1e-4  # per byte: about ten a second in the shipped clip


@dataclass(frozen=True)
class Fault:
    """`lasts_s` is how long it holds; `parts` what the station needs for it; `why_not` why it cannot be here."""

    name: str
    strike: Callable[[Station], AbstractContextManager[None]]
    lasts_s: float = 0.0
    parts: Sequence[str] = ()
    why_not: Callable[[Path], str] = lambda folder: ""
    ends_process: bool = False  # or may end it; then it is over when the unit has been started again


@contextmanager
def nothing(station: Station) -> Iterator[None]:
    yield


@contextmanager
def camera_killed(station: Station) -> Iterator[None]:
    station.camera.kill()
    yield
    station.camera.start()


@contextmanager
def camera_replaced(station: Station) -> Iterator[None]:
    """By one with smaller pictures, and back."""
    station.camera.kill()
    station.camera.start()
    station.camera.show("small")
    yield
    station.camera.kill()
    station.camera.start()


@contextmanager
def camera_frozen(station: Station) -> Iterator[None]:
    station.camera.freeze()
    yield
    station.camera.thaw()


@contextmanager
def camera_slow(station: Station) -> Iterator[None]:
    """A picture every three seconds: later than `source.stall_s`."""
    station.camera.set_fps(0.33)
    yield
    station.camera.set_fps(station.fps)


@contextmanager
def other_resolution(station: Station) -> Iterator[None]:
    station.camera.show("small")
    yield
    station.camera.show("big")


@contextmanager
def corrupted(station: Station) -> Iterator[None]:
    station.camera_line.bit_errors = BIT_ERRORS
    yield
    station.camera_line.bit_errors = 0.0


@contextmanager
def broker_killed(station: Station) -> Iterator[None]:
    station.broker.kill()
    yield
    station.broker.start()


@contextmanager
def broker_frozen(station: Station) -> Iterator[None]:
    station.broker.freeze()
    yield
    station.broker.thaw()


@contextmanager
def broker_slow(station: Station) -> Iterator[None]:
    """A link of 2 kB/s with half a second of delay."""
    line = station.broker_line
    line.delay_s, line.bytes_per_s = 0.5, 2000.0
    yield
    line.delay_s, line.bytes_per_s = 0.0, float("inf")


@contextmanager
def broker_refuses(station: Station) -> Iterator[None]:
    """The password was changed at the broker, which also forgets who is logged in."""
    station.broker.set_password("unit", "changed")
    station.broker.stop()
    station.broker.start()
    yield
    station.broker.set_password("unit", PASSWORDS["unit"])


@contextmanager
def link_cut(station: Station) -> Iterator[None]:
    assert station.link is not None
    station.link.cut()
    yield
    station.link.mend()


@contextmanager
def line_cut(station: Station) -> Iterator[None]:
    """What the proxy can do of it: nothing goes through, connections stand."""
    station.broker_line.is_cut = True
    yield
    station.broker_line.is_cut = False


def clock_jumps(days: float) -> Callable[[Station], AbstractContextManager[None]]:
    @contextmanager
    def strike(station: Station) -> Iterator[None]:
        assert station.clock is not None
        station.clock.offset_s += days * DAY_S
        yield

    return strike


@contextmanager
def disk_full(station: Station) -> Iterator[None]:
    assert station.disk is not None
    station.disk.fill()
    yield
    station.disk.free()


@contextmanager
def disk_full_and_broker_killed(station: Station) -> Iterator[None]:
    """Events have nowhere to go but memory."""
    with disk_full(station), broker_killed(station):
        yield


@contextmanager
def memory_taken(station: Station) -> Iterator[None]:
    assert station.group is not None
    station.group.take()
    yield
    station.group.give_back()


@contextmanager
def memory_limited(station: Station) -> Iterator[None]:
    """No memory beyond what the unit has, while more viewers come."""
    with memory.no_more(station.unit.pid), viewers.stalling(station.unit.port, "nir"):  # needs another encoder
        yield


@contextmanager
def killed(station: Station) -> Iterator[None]:
    """At a random moment: no two strikes fall into the same phase of reports, commits and frames."""
    time.sleep(random.uniform(0, 3))
    station.unit.kill()
    yield


@contextmanager
def viewers_stall(station: Station) -> Iterator[None]:
    with viewers.stalling(station.unit.port):
        yield


@contextmanager
def viewers_vanish(station: Station) -> Iterator[None]:
    with viewers.vanishing(station.unit.port):
        yield


@contextmanager
def viewers_flood(station: Station) -> Iterator[None]:
    with viewers.flooding(station.unit.port):
        yield


@contextmanager
def viewers_babble(station: Station) -> Iterator[None]:
    with viewers.babbling(station.unit.port, random.getrandbits(32)):
        yield


def _no_link(folder: Path) -> str:
    return link.why_not()


def _no_group(folder: Path) -> str:
    return memory.why_no_group()


def _no_disk(folder: Path) -> str:
    return disk.why_not(folder)


FAULTS = (
    Fault("nothing (for comparison)", nothing, 5),
    Fault("camera killed", camera_killed, 4),
    Fault("camera frozen", camera_frozen, 6),
    Fault("camera replaced, other size", camera_replaced, 6),
    Fault("camera slow: a picture in 3 s", camera_slow, 8),
    Fault("resolution changes in mid-stream", other_resolution, 4),
    Fault("video corrupted: bit errors", corrupted, 6),
    Fault("broker killed", broker_killed, 4),
    Fault("broker frozen", broker_frozen, 6),
    Fault("broker slow: 2 kB/s, 0.5 s delay", broker_slow, 8),
    Fault("broker refuses the login", broker_refuses, 6),
    Fault("link cut: network namespace", link_cut, 35, ("link",), _no_link),
    Fault("link cut: nothing goes through", line_cut, 10),
    Fault("clock jumps forward a day", clock_jumps(1), 2, ("clock",)),
    Fault("clock jumps back a day", clock_jumps(-1), 2, ("clock",)),
    Fault("disk full", disk_full, 8, ("disk",), _no_disk),
    Fault("disk full, broker killed", disk_full_and_broker_killed, 8, ("disk",), _no_disk),
    Fault("memory taken by a neighbour", memory_taken, 4, ("group",), _no_group, ends_process=True),
    Fault("memory limited to what it has", memory_limited, 4, ends_process=True),
    Fault("killed at random", killed, ends_process=True),
    Fault("viewers stall", viewers_stall, 5),
    Fault("viewers vanish", viewers_vanish, 1),
    Fault("viewers flood: 500 connections", viewers_flood, 4),
    Fault("viewers send garbage", viewers_babble),
)
