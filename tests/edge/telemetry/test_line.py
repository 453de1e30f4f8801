"""One connection to the broker, and nothing of it left behind."""

from __future__ import annotations

import gc
from pathlib import Path

from edge.station import machine
from edge.telemetry.line import Line, LineEvents
from tests.mosquitto import Broker


def test_a_closed_line_leaves_no_descriptor(tmp_path: Path) -> None:
    """Without the help of the garbage collector, which comes when it likes."""
    answers: list[str] = []
    nobody = lambda *_: None  # noqa: E731
    events = LineEvents(lambda refusal, _: answers.append(refusal), nobody, nobody, nobody, nobody)

    def connect_and_close(broker: Broker) -> int:
        answers.clear()
        line = Line("fold-3", None, events)
        line.connect(broker.host, broker.port, None, None)
        while not answers:
            assert line.turn()
        line.close()
        return machine.open_descriptors()

    gc.disable()
    try:
        with Broker(tmp_path / "broker") as broker:
            found = [connect_and_close(broker) for _ in range(5)]
    finally:
        gc.enable()
    assert len(set(found)) == 1
