"""A simulated board's sensors, this machine's own, and what is missing or broken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge.station.sensors import Readings, Sensors
from tests.edge.station.board import Board


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_a_board_at_rest(board: Board) -> None:
    assert Sensors(board.root).read() == Readings(
        temperature_c=45.0,
        throttled=(),
        memory_available_percent=50.0,
        memory_stall_percent=0.0,
        load=0.25,
        power_w=6.0,
    )


def test_a_cooling_device_that_slows_the_board_counts_and_a_fan_does_not(board: Board) -> None:
    sensors = Sensors(board.root)
    board.cool(0, 255)
    assert sensors.read().throttled == ()
    board.cool(2, 1)
    board.cool(1, 1)
    assert sensors.read().throttled == ("cpu-throttle-alert", "gpu-throttle-alert")


@pytest.mark.parametrize(
    ("counter", "name"),
    [
        ("sys/class/hwmon/hwmon3/oc1_event_cnt", "oc1"),
        ("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "core_throttle"),
    ],
)
def test_counters_count_from_one_reading_to_the_next(board: Board, counter: str, name: str) -> None:
    board.write(counter, "7")
    sensors = Sensors(board.root)
    assert sensors.read().throttled == ()
    board.write(counter, "8")
    assert sensors.read().throttled == (name,)
    assert sensors.read().throttled == ()


def test_the_service_s_own_limit_of_memory_counts_where_it_is_the_nearer_one(board: Board) -> None:
    board.write("proc/self/cgroup", "0::/system.slice/tapetum-edge.service")
    group = "sys/fs/cgroup/system.slice/tapetum-edge.service"
    board.write(f"{group}/memory.max", "max")
    board.write(f"{group}/memory.current", "900")
    board.write(f"{group}/memory.stat", "anon 600\ninactive_file 100")
    assert Sensors(board.root).read().memory_available_percent == 50.0
    board.write(f"{group}/memory.max", "1000")
    assert Sensors(board.root).read().memory_available_percent == pytest.approx(20.0)


def test_what_the_machine_does_not_tell_is_unknown(tmp_path: Path) -> None:
    assert Sensors(tmp_path).read() == Readings()


@pytest.mark.parametrize("text", ["", "rubbish", "\0\xff", "-", "1 2 3", "some avg10="])
def test_no_content_of_any_file_raises(board: Board, text: str) -> None:
    sensors = Sensors(board.root)
    for file in board.root.rglob("*"):
        if file.is_file():
            file.write_text(text)
    sensors.read()


def test_no_file_that_goes_raises(board: Board) -> None:
    sensors = Sensors(board.root)
    for folder in ("sys", "proc"):
        shutil.rmtree(board.root / folder)
    assert sensors.read() == Readings()


def test_this_machine_answers() -> None:
    readings = Sensors().read()
    assert readings.load is not None and readings.load >= 0
    assert readings.memory_available_percent is not None and 0 < readings.memory_available_percent <= 100
