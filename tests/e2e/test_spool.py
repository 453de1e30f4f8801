"""The whole service loses its broker, is killed, and comes back: the broker gets every event, in order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge.telemetry.spool import FILE
from edge.telemetry.spool_file import SpoolFile
from tests.e2e.service import PATIENCE_S, Sections, Service
from tests.edge.telemetry.schemas import validate
from tests.mosquitto import Broker, Subscriber, wait_until

UNIT = "fold-3"


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    return Broker(tmp_path / "broker")


@pytest.fixture
def sections(bundle: Path, clip: Path, broker: Broker, tmp_path: Path) -> Sections:
    return {
        "unit": {"name": UNIT},
        "service": {"state_dir": str(tmp_path / "state")},
        "source": {"kind": "file", "path": str(clip)},
        "bundle": {"path": str(bundle)},
        "mqtt": {"port": broker.port, "health_interval_s": 1},
        "rtsp": {"enabled": False},
    }


def spooled(folder: Path) -> list[str]:
    """The identities of the events on disk, oldest first."""
    file = SpoolFile(folder / FILE)
    found = [json.loads(row.payload)["event_id"] for row in file.read(0, 10_000)]
    file.close()
    return found


def event_payloads(messages: Subscriber) -> list[dict[str, Any]]:
    return [message.payload for message in list(messages.received) if "/events/" in message.topic]


def test_a_dead_broker_and_a_killed_service_cost_no_event(sections: Sections, broker: Broker, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    with broker, Subscriber(broker, f"tapetum/{UNIT}/#") as before, Service(tmp_path / "first", sections) as service:
        service.wait_ready()
        before.wait_for(2, "/events/update", PATIENCE_S)
        broker.kill()
        log_bytes = log_size(state_dir)
        wait_until(
            lambda: "MQTT broker" in service.stderr.split("connected")[-1], PATIENCE_S, what="broker is missed"
        )
        wait_until(lambda: log_size(state_dir) > log_bytes + 8 * 4096, PATIENCE_S, what="events on disk")
        service.process.kill()
        service.wait_end()
        waiting = spooled(state_dir)
        assert waiting
        broker.start()
        with Subscriber(broker, f"tapetum/{UNIT}/#") as after, Service(tmp_path / "second", sections) as second:
            second.wait_ready()
            after.wait_for(1, "/events/appear", PATIENCE_S)
            wait_until(lambda: any(not event["late"] for event in event_payloads(after)), PATIENCE_S)
            assert second.stop() == 0, second.stderr
            after.wait_for_state("offline")
        events = event_payloads(after)
    for event in events:
        validate(event)
    assert [event["event_id"] for event in events[: len(waiting)]] == waiting
    assert all(event["late"] for event in events[: len(waiting)])
    told = [event["event_id"] for event in event_payloads(before)]
    assert len(told + waiting) - len(set(told + waiting)) <= 16, "repeats are those whose answer was under way"
    assert spooled(state_dir) == []
    for stderr in (service.stderr, second.stderr):
        assert "Traceback" not in stderr


def log_size(folder: Path) -> int:
    """Of the write-ahead log, in bytes: each commit adds two pages at least."""
    return (folder / f"{FILE}-wal").stat().st_size
