"""The whole service as a process: a clip in, colour video and messages out, and a clean end."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.clip import BLOCK, BLOCK_SIZE, GROUND, HEIGHT, WIDTH
from tests.e2e.service import PATIENCE_S, Sections, Service, pictures, probe, record
from tests.edge.telemetry.schemas import validate
from tests.mosquitto import Broker, Received, Subscriber, wait_until

UNIT = "fold-3"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def sections(bundle: Path, clip: Path, broker: Broker) -> Sections:
    return {
        "unit": {"name": UNIT},
        "source": {"kind": "file", "path": str(clip)},
        "bundle": {"path": str(bundle)},
        "mqtt": {"port": broker.port, "health_interval_s": 1},
    }


def test_a_clip_becomes_colour_video_and_messages(sections: Sections, broker: Broker, tmp_path: Path) -> None:
    with Subscriber(broker, f"tapetum/{UNIT}/#") as messages, Service(tmp_path / "unit", sections) as service:
        service.wait_ready()
        check_video(service, tmp_path)
        messages.wait_for(1, "/events/appear")
        messages.wait_for(2, "/events/update")
        check_health(messages.wait_for(3, "/health")[-1])
        messages.wait_for_state("online")
        assert service.stop() == 0, service.stderr
        messages.wait_for_state("offline")
        check_events([message for message in messages.received if "/events/" in message.topic])
        assert messages.received[-1].topic.endswith("/status"), "offline is the last word"
    for message in messages.received:
        validate(message.payload)
    with Subscriber(broker) as later:
        assert later.wait_for_state("offline").retained
    assert "Traceback" not in service.stderr


def check_video(service: Service, folder: Path) -> None:
    """100 frames of /colour are H.264 of the clip's size, and have the colour that the tiny colorizer gives."""
    recording = record(service.url("colour"), folder / "colour.mkv", frames=100)
    stream = probe(recording)
    assert (stream["codec_name"], stream["width"], stream["height"]) == ("h264", WIDTH, HEIGHT)
    assert stream["nb_read_frames"] == "100"
    frames = pictures(recording, WIDTH, HEIGHT).astype(int)
    assert all(np.abs(before - after).max() > 100 for before, after in zip(frames, frames[12:], strict=False))
    np.testing.assert_allclose(frames[:, :20, :20].mean((0, 1, 2)), tiny_colour(GROUND), atol=10)
    row, column = (round(float(where.mean())) for where in np.nonzero(frames[50].sum(2) > 600))
    block = frames[50, row - 8 : row + 8, column - 8 : column + 8]
    np.testing.assert_allclose(block.mean((0, 1)), tiny_colour(BLOCK), atol=10)
    grey = pictures(record(service.url("nir"), folder / "nir.mkv", frames=5), WIDTH, HEIGHT)
    assert np.ptp(grey.astype(int), axis=3).max() <= 2, "/nir is as the camera saw it"


def tiny_colour(luma: int) -> npt.NDArray[np.float32]:
    """RGB of what tests/edge/tiny_bundle.py makes of this luma in the clip, by OpenCV's conversions."""
    share = luma / 255
    block_share = BLOCK_SIZE[0] * BLOCK_SIZE[1] / (WIDTH * HEIGHT)
    mean = (BLOCK * block_share + GROUND * (1 - block_share)) / 255
    lab = cv2.cvtColor(np.full((1, 1, 3), share, np.float32), cv2.COLOR_RGB2LAB)
    lab[0, 0, 1:] = 80 * share - 40 + mean, 20 - 40 * share
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)[0, 0] * 255, np.float32)


def check_health(message: Received) -> None:
    health = message.payload
    assert health["unit"] == UNIT
    assert health["source"]["state"] == "live"
    assert health["source"]["size"] == [WIDTH, HEIGHT]
    assert min(health["fps"].values()) > 0
    assert 0 < health["latency_ms"]["p50"] <= health["latency_ms"]["p99"]
    bundle = {"name": "tiny", "version": "1.0", "precision": "fp32", "runtime": "openvino"}
    assert health["bundle"] == {**bundle, "runtime_detail": health["bundle"]["runtime_detail"]}
    assert re.search("no NVIDIA GPU|no GPU|fp32 engine|TensorRT", health["bundle"]["runtime_detail"])
    assert health["grey_frames"] == 0
    assert health["rtsp"]["url"].endswith("/colour")
    assert health["mqtt"]["published"] > 0


def check_events(messages: list[Received]) -> None:
    """Each object appears, is updated, and has left at the end; it is where the white block is."""
    kinds: dict[str, list[str]] = {}
    for message in messages:
        event = message.payload
        kinds.setdefault(event["track_id"], []).append(event["kind"])
        assert message.topic == f"tapetum/{UNIT}/events/{event['kind']}"
        assert (event["label"], event["bundle"]) == ("dog", {"name": "tiny", "version": "1.0"})
        assert event["frame"]["width"] == WIDTH
        if event["kind"] == "appear":
            np.testing.assert_allclose(event["box_px"][2:], BLOCK_SIZE, atol=6)
    for track in kinds.values():
        assert (track[0], track[-1]) == ("appear", "leave")
        assert set(track[1:-1]) <= {"update"}


def test_the_service_manager_hears_of_it(sections: Sections, tmp_path: Path) -> None:
    with Service(tmp_path / "unit", sections, {"WATCHDOG_USEC": "1000000"}) as service:
        service.wait_ready()
        wait_until(lambda: service.manager.count("WATCHDOG=1") >= 3, PATIENCE_S, what="the watchdog is fed")
        assert any("STATUS=source live" in note for note in service.manager.notes)
        assert service.stop(signal.SIGINT) == 0
        wait_until(lambda: service.manager.count("STOPPING=1") == 1)
        assert service.manager.notes[-1].startswith("STOPPING=1")
    assert "Traceback" not in service.stderr


def test_a_signal_during_the_start_ends_it(sections: Sections, tmp_path: Path) -> None:
    with Service(tmp_path / "unit", sections) as service:
        wait_until(service.state_dir.exists, PATIENCE_S, what="the service begins to load its networks")
        assert service.stop() == 0, service.stderr
        assert service.manager.count("READY=1") == 0
    assert "Traceback" not in service.stderr
