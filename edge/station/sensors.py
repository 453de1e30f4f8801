"""How hard the machine has it: heat, throttling, memory, load and power, read from /sys and /proc.

What a Jetson tells beside the usual files of Linux: "throttle-alert" cooling devices and over-current counters
(Jetson Linux Developer Guide, "Platform Power and Performance") and the power of its input rail (INA3221). `root`
stands for the root of the file system, so that a board can be simulated. A file that is missing or unreadable makes
its reading unknown, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.station import machine

# Cooling devices that slow the machine down; others are fans, or hold a state at rest ("TCC Offset").
_SLOWING = re.compile(r"throttle|hot-surface|cpufreq|devfreq|processor|gpu", re.IGNORECASE)
_COUNTERS = (
    "sys/class/hwmon/hwmon*/oc*_event_cnt",  # Jetson: over-current
    "sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count",  # x86
)
_UNREADABLE = (OSError, ValueError, LookupError, ZeroDivisionError)
_INPUT_RAILS = {"VDD_IN", "5V_IN", "POM_5V_IN"}  # those that feed the whole module


@dataclass(frozen=True, slots=True)
class Readings:
    """The machine at one moment; None for what it does not tell.

    Attributes:
        temperature_c: of the hottest thermal zone.
        throttled: what slows the machine down now, or has since the readings before.
        memory_available_percent: what the machine, or the service's own cgroup, can still give.
        memory_stall_percent: share of the last 10 s in which a task waited for memory (PSI).
        load: tasks that run or wait for a processor, per processor, mean of a minute.
        power_w: of the module's input rail.
    """

    temperature_c: float | None = None
    throttled: tuple[str, ...] = ()
    memory_available_percent: float | None = None
    memory_stall_percent: float | None = None
    load: float | None = None
    power_w: float | None = None


class Sensors:
    """Reads a machine, again and again: throttling is told by counters, too, which only ever grow."""

    def __init__(self, root: Path = machine.ROOT) -> None:
        self._root = root
        self._counts = dict(self._read_counts())

    def read(self) -> Readings:
        return Readings(
            temperature_c=machine.temperature_c(self._root),
            throttled=tuple(sorted({*_active_cooling(self._root), *self._counted()})),
            memory_available_percent=min(_memory_percents(self._root), default=None),
            memory_stall_percent=_stall_percent(self._root / "proc/pressure/memory"),
            load=_load(self._root),
            power_w=sum(rails) if (rails := list(_input_power_w(self._root))) else None,
        )

    def _counted(self) -> Iterator[str]:
        for path, count in self._read_counts():
            if count > self._counts.get(path, count):
                yield path.name.removesuffix("_event_cnt").removesuffix("_count")
            self._counts[path] = count

    def _read_counts(self) -> Iterator[tuple[Path, int]]:
        for pattern in _COUNTERS:
            for path in self._root.glob(pattern):
                with suppress(*_UNREADABLE):
                    yield path, int(path.read_text())


def _active_cooling(root: Path) -> Iterator[str]:
    for device in root.glob("sys/class/thermal/cooling_device*"):
        with suppress(*_UNREADABLE):
            kind = (device / "type").read_text().strip()
            if _SLOWING.search(kind) and int((device / "cur_state").read_text()) > 0:
                yield kind


def _memory_percents(root: Path) -> Iterator[float]:
    """Of the machine, and of the cgroup where it has a limit (systemd: MemoryMax)."""
    with suppress(*_UNREADABLE):
        memory = _table(root / "proc/meminfo", ":")
        yield 100 * memory["MemAvailable"] / memory["MemTotal"]
    with suppress(*_UNREADABLE):
        group = root / "sys/fs/cgroup" / _own_cgroup(root)
        limit = int((group / "memory.max").read_text())  # "max", no number, where there is none
        reclaimable = _table(group / "memory.stat", " ")["inactive_file"]
        yield 100 * (1 - (int((group / "memory.current").read_text()) - reclaimable) / limit)


def _own_cgroup(root: Path) -> str:
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::/"):
            return line.removeprefix("0::/")
    raise KeyError("no unified cgroup")


def _table(path: Path, separator: str) -> dict[str, int]:
    """The first number of each line, by the line's first word."""
    rows = (line.partition(separator) for line in path.read_text().splitlines())
    return {key: int(value.split()[0]) for key, _, value in rows}


def _stall_percent(path: Path) -> float | None:
    with suppress(*_UNREADABLE):  # kernels without PSI have no such file, or refuse to read it
        found = re.search(r"^some avg10=([\d.]+)", path.read_text(), re.MULTILINE)
        return float(found[1]) if found else None
    return None


def _load(root: Path) -> float | None:
    with suppress(*_UNREADABLE):
        lines = (root / "proc/stat").read_text().splitlines()
        processors = sum(1 for line in lines if re.match(r"cpu\d", line))
        return float((root / "proc/loadavg").read_text().split()[0]) / max(processors, 1)
    return None


def _input_power_w(root: Path) -> Iterator[float]:
    for label in root.glob("sys/class/hwmon/hwmon*/in*_label"):
        with suppress(*_UNREADABLE):
            if label.read_text().strip() in _INPUT_RAILS:
                number = label.name.removeprefix("in").removesuffix("_label")
                millivolts = int((label.parent / f"in{number}_input").read_text())
                yield millivolts * int((label.parent / f"curr{number}_input").read_text()) / 1e6
