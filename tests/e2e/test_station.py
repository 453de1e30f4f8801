"""The unit looks after itself: the governor and the watch over the station in the whole service."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import app as app_module
from edge.app import App
from edge.conditions import Condition
from edge.config import parse_config
from edge.limits import UNLIMITED
from edge.reporting import Reporter
from edge.station import governor
from edge.station.sensors import Sensors
from tests.clip import HEIGHT, WIDTH
from tests.e2e.service import PATIENCE_S, Sections, Service, Viewer, probe, record
from tests.edge.station.board import Board
from tests.edge.telemetry.schemas import validate
from tests.mosquitto import Broker, Subscriber, wait_until


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def sections(bundle: Path, clip: Path, broker: Broker) -> Sections:
    return {
        "source": {"kind": "file", "path": str(clip)},
        "bundle": {"path": str(bundle)},
        "mqtt": {"port": broker.port, "health_interval_s": 1},
    }


def conditions(messages: Subscriber, name: str) -> list[str]:
    """The states of one condition so far, in their order."""
    told = [message.payload for message in messages.on("/events/condition")]
    return [payload["state"] for payload in told if payload["name"] == name]


def test_a_unit_under_pressure_shows_less_and_detects_as_ever(
    sections: Sections, broker: Broker, tmp_path: Path
) -> None:
    """No machine has all of its memory available: the last level is reached within seconds, and never left."""
    pressed = {"memory_available_percent": 99.99, "memory_recovered_percent": 100.0, "press_s": 0.0}
    sections["governor"] = {"enabled": True, **pressed}
    sections["detect"] = {"max_fps": 5.0}
    with Subscriber(broker) as messages, Service(tmp_path / "unit", sections) as service:
        service.wait_ready()
        with Viewer(service.url("colour")) as viewer:
            wait_until(
                lambda: messages.on("/health") and messages.on("/health")[-1].payload["governor"]["level"] == 3,
                PATIENCE_S,
                what="the last level",
            )
            viewer.wait_for(1, 254)  # in the session of before
            stream = probe(record(service.url("colour"), tmp_path / "small.mkv", frames=25))
            assert (stream["width"], stream["height"]) == (WIDTH // 2, HEIGHT // 2)
        health = messages.wait_for(len(messages.on("/health")) + 2, "/health")[-1].payload
        assert "% of memory available (limit 99.99)" in health["governor"]["reasons"][0]
        assert [one["name"] for one in health["conditions"]] == ["slowed_down"]
        assert health["fps"]["detect"] > 0
        assert health["fps"]["colour"] < 12
        assert health["source"]["size"] == [WIDTH, HEIGHT]
        appeared = messages.wait_for(1, "/appear")[0].payload
        assert (appeared["frame"]["width"], appeared["frame"]["height"]) == (WIDTH, HEIGHT), "detection sees it all"
        assert service.stop() == 0, service.stderr
        messages.wait_for_state("offline")
        assert conditions(messages, "slowed_down") == ["on", "off"]
        for message in messages.received:
            validate(message.payload)
    assert "slowed down: level 1 of 3 (context)" in service.stderr
    assert "Traceback" not in service.stderr


def test_a_board_that_cools_down_recovers(
    bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole service in this process, on a simulated board."""
    board, told = Board(tmp_path / "board"), list[Condition]()
    monkeypatch.setattr(app_module, "Sensors", lambda: Sensors(board.root))
    monkeypatch.setattr(Reporter, "condition", lambda _, condition: told.append(condition))
    monkeypatch.setattr(governor, "INTERVAL_S", 0.05)
    config = parse_config(
        {
            "service": {"state_dir": str(tmp_path / "state")},
            "source": {"kind": "file", "path": str(clip)},
            "bundle": {"path": str(bundle)},
            "rtsp": {"enabled": False},
            "mqtt": {"enabled": False},
            "governor": {"press_s": 0.2, "recover_s": 0.2},
            "station": {"enabled": False},
        },
        origin="test",
    )
    with App(config) as app:
        widths = [WIDTH]

        def coloured_width() -> int:
            return app.colour.newest[1].nv12.shape[1] if app.colour.newest else 0

        def poll() -> None:
            if widths[-1] != (width := coloured_width() or WIDTH):
                widths.append(width)
                board.heat(50)
            if len(widths) == 3 and app.governor.limits == UNLIMITED and not app.conditions.on:
                stop.set()

        board.heat(95)
        stop = threading.Event()
        app.run(stop, poll)
        assert app.detect.rate.total > 0
    assert widths == [WIDTH, WIDTH // 2, WIDTH]
    assert [(one.name, one.is_on) for one in told] == [("slowed_down", True), ("slowed_down", False)]


def test_a_lamp_that_fails_is_told_and_so_is_its_return(sections: Sections, broker: Broker, tmp_path: Path) -> None:
    picture = "testsrc2=s=320x240:r=10:d=13,hue=s=0"
    dark = "color=black:s=320x240:r=10:d=5"
    clip = tmp_path / "lamp.mp4"
    make = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        f"{picture}[a];{dark}[b];[b][a]concat",
        "-pix_fmt",
        "yuv420p",
    ]
    subprocess.run([*make, str(clip)], check=True)
    sections["source"]["path"] = str(clip)
    sections["station"] = {"black_s": 2.0, "interval_s": 0.5}
    with Subscriber(broker) as messages, Service(tmp_path / "unit", sections) as service:
        wait_until(lambda: conditions(messages, "black_picture") == ["on", "off"], PATIENCE_S, what="on and off")
        on, off = (
            message.payload
            for message in messages.on("/events/condition")
            if message.payload["name"] == "black_picture"
        )
        assert on["since"] == off["since"] == on["time_utc"] < off["time_utc"]
        listed = [[one["name"] for one in message.payload["conditions"]] for message in messages.on("/health")]
        assert ["black_picture"] in listed
        (later,) = messages.wait_for(len(listed) + 2, "/health")[-1:]
        assert later.payload["conditions"] == []
        assert service.stop() == 0, service.stderr
    assert "black picture: the brightest places have level" in service.stderr
    assert "black picture no more" in service.stderr
    assert "Traceback" not in service.stderr
