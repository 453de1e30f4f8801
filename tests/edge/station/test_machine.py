"""Readings of the machine: a made-up board for the temperatures, the real /proc for the rest."""

from __future__ import annotations

import platform
import resource
from pathlib import Path

import numpy as np
import pytest

from edge.station import machine
from tests.waiting import until


def zone(root: Path, number: int, kind: str, temp: str | None) -> None:
    folder = root / f"sys/class/thermal/thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    if temp is not None:
        (folder / "temp").write_text(f"{temp}\n")


def test_the_hottest_zone_counts(tmp_path: Path) -> None:
    zone(tmp_path, 0, "CPU-therm", "48500")
    zone(tmp_path, 1, "GPU-therm", "51250")
    assert machine.temperature_c(tmp_path) == 51.25


def test_zones_that_tell_nothing_true_are_left_out(tmp_path: Path) -> None:
    zone(tmp_path, 0, "CPU-therm", "-3000")
    zone(tmp_path, 1, "PMIC-Die", "100000")  # a constant on Jetson boards
    zone(tmp_path, 2, "GPU-therm", "-256000")  # switched off
    zone(tmp_path, 3, "broken", "")
    zone(tmp_path, 4, "silent", None)
    zone(tmp_path, 5, "wild", "2147483647")
    assert machine.temperature_c(tmp_path) == -3.0


def test_no_zone_is_no_temperature(tmp_path: Path) -> None:
    assert machine.temperature_c(tmp_path) is None
    zone(tmp_path, 0, "silent", None)
    assert machine.temperature_c(tmp_path) is None


def test_this_machine_answers() -> None:
    temperature_c = machine.temperature_c()
    assert temperature_c is None or -55 <= temperature_c <= 150


def test_memory_follows_an_allocation_and_the_peak_stays() -> None:
    before_mb = machine.rss_mb()
    block = np.ones(64 * 2**20, np.uint8)
    grown_mb = machine.rss_mb()
    assert 60 < grown_mb - before_mb < 80
    del block
    until(lambda: machine.rss_mb() < grown_mb - 50)  # the kernel may count what was given back a little later
    assert machine.peak_rss_mb() >= grown_mb - 1
    assert machine.peak_rss_mb() == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, rel=0.05)


def test_open_descriptors_are_counted(tmp_path: Path) -> None:
    before = machine.open_descriptors()
    files = [(tmp_path / str(number)).open("w") for number in range(5)]
    assert machine.open_descriptors() == before + 5
    for file in files:
        file.close()
    assert machine.open_descriptors() == before


@pytest.mark.parametrize(
    ("line", "release"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: today", "36.4.3"),
        ("# R38 (release), REVISION: 2, GCID: 1, BOARD: generic", "38.2"),
        ("something else", None),
        (None, None),
    ],
)
def test_the_release_of_jetson_linux(line: str | None, release: str | None, tmp_path: Path) -> None:
    if line is not None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/nv_tegra_release").write_text(f"{line}\n")
    assert machine.l4t_release(tmp_path) == release


def test_the_processor_is_the_board_s_name_or_the_cpu_s(tmp_path: Path) -> None:
    assert machine.processor(tmp_path) == platform.machine()
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n")
    assert machine.processor(tmp_path) == "Some CPU @ 2.00GHz"
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    assert machine.processor(tmp_path) == "NVIDIA Jetson Orin Nano Developer Kit"
