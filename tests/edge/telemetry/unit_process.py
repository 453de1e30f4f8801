"""Spool and MQTT client of a unit as a process of their own, which can be killed while it puts events."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from edge.sections import MqttConfig, SpoolConfig
from edge.telemetry.mqtt import MqttClient
from edge.telemetry.spool import Spool
from tests.edge.telemetry.samples import UNIT
from tests.mosquitto import Broker

ROOT = Path(__file__).parents[3]
FOR_EVER = 1 << 30


def unit_process(broker: Broker, folder: Path, first: int = 0, count: int = 0) -> subprocess.Popen[str]:
    """Puts the events first, first + 1, ...; each number comes on its standard output when that event is on disk."""
    command = [sys.executable, "-m", __name__, str(broker.port), str(folder), str(first), str(first + count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _run(port: int, folder: Path, first: int, end: int) -> None:
    spool = Spool(folder, SpoolConfig())
    with spool, MqttClient(MqttConfig(port=port), UNIT, spool) as client:
        for number in range(first, end):
            client.publish_event({"kind": "update", "n": number, "event_id": f"track-update-{number}"})
            while spool.backlog.unsaved:
                time.sleep(0)
            print(number, flush=True)
        time.sleep(FOR_EVER)


if __name__ == "__main__":
    port, folder, first, end = sys.argv[1:]
    _run(int(port), Path(folder), int(first), int(end))
