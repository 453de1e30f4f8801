"""What this machine and this process tell about themselves, read from /sys and /proc.

`root` stands for the root of the file system, so that a board's tree can be read from a copy.
MB are 2**20 bytes.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/")
# A Jetson's zone that is switched off reads far below any frost; a broken sensor reads anything.
_PLAUSIBLE_C = (-55.0, 150.0)


def temperature_c(root: Path = ROOT) -> float | None:
    """The hottest thermal zone in degrees Celsius; None where the machine tells nothing."""
    return max(_zone_temperatures_c(root), default=None)


def rss_mb(root: Path = ROOT) -> float:
    """Memory of this process that is in RAM now, in MB."""
    return _status_mb("VmRSS", root)


def peak_rss_mb(root: Path = ROOT) -> float:
    """The most that `rss_mb` has been in the life of this process, in MB."""
    return _status_mb("VmHWM", root)


def open_descriptors(root: Path = ROOT) -> int:
    """Number of file descriptors that this process has open."""
    return sum(1 for _ in (root / "proc/self/fd").iterdir())


def l4t_release(root: Path = ROOT) -> str | None:
    """Release of Jetson Linux, "36.4.3"; None on other machines."""
    try:
        text = (root / "etc/nv_tegra_release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else None


def processor(root: Path = ROOT) -> str:
    """The board's name, which a Jetson tells, or else that of the CPU; at least the kind of its instructions."""
    for path, pattern in ((root / "proc/device-tree/model", "(.+)"), (root / "proc/cpuinfo", r"model name\s*: (.+)")):
        with suppress(OSError):
            found = re.search(pattern, path.read_text(encoding="utf-8", errors="replace").replace("\0", ""))
            if found:
                return found[1].strip()
    return platform.machine()


def _zone_temperatures_c(root: Path) -> Iterator[float]:
    for zone in (root / "sys/class/thermal").glob("thermal_zone*"):
        try:
            kind = (zone / "type").read_text()
            value = int((zone / "temp").read_text()) / 1000
        except (OSError, ValueError):  # a zone without power answers with an error
            continue
        # Jetson boards report a constant for the power-management chip, whatever its temperature.
        if "PMIC" not in kind and _PLAUSIBLE_C[0] <= value <= _PLAUSIBLE_C[1]:
            yield value


def _status_mb(key: str, root: Path) -> float:
    for line in (root / "proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.removesuffix("kB")) / 1024
    raise KeyError(f"/proc/self/status has no {key}")
