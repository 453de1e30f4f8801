"""All that changes a running service, at once and without order, and a stop in the middle."""

from __future__ import annotations

import random
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge.app import App
from edge.bundles.bundle import load_bundle, read_manifest, write_manifest
from edge.config import Config, parse_config
from edge.engines.renewal import Renewal
from edge.errors import RefusedError
from edge.limits import Limits
from edge.types import Event, EventKind
from edge.vision.backend import open_backend
from edge.vision.cpu import CpuColourist, CpuDetector
from tests.clip import make_clip
from tests.e2e.service import Viewer
from tests.edge.standing import Opened, orin, write_engines_of
from tests.edge.tiny_bundle import make_tiny_bundle

BUILD = """
import json, random, time
time.sleep(random.random() / 5)
print(json.dumps({"state": "built", "model": "context", "precision": "fp32"}), flush=True)
time.sleep(random.random() / 5)
"""
SWITCHES = 60
AFTER_THE_STOP = 5


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two that call what they see by other names."""
    folder = make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "one")
    other = shutil.copytree(folder, folder.parent / "other")
    write_manifest(other, read_manifest(other).model_copy(update={"labels": ("cat", "wolf"), "version": "2.0"}))
    return [folder, other]


@pytest.fixture
def config(bundles: list[Path], tmp_path: Path) -> Config:
    sections: dict[str, dict[str, object]] = {
        "service": {"state_dir": str(tmp_path / "state")},
        "source": {"kind": "file", "path": str(make_clip(tmp_path / "night.mp4"))},
        "bundle": {"path": str(bundles[0])},
        "detect": {"appear_after": 1},
        "governor": {"enabled": False},
        "rtsp": {"port": 0},
        "mqtt": {"enabled": False},
    }
    return parse_config(sections, origin="test")


@pytest.fixture
def opened(config: Config, bundles: list[Path], monkeypatch: pytest.MonkeyPatch) -> Opened:
    """An Orin with engines of both bundles, which have the same graphs."""
    config.service.engines_dir.mkdir(parents=True)
    write_engines_of(bundles[0], config.service.engines_dir)
    return orin(monkeypatch)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Counter[CpuColourist | CpuDetector]:
    """How often each part of a backend was closed."""
    closed: Counter[CpuColourist | CpuDetector] = Counter()
    for kind in (CpuColourist, CpuDetector):

        def close(part: CpuColourist | CpuDetector, close: Callable[..., None] = kind.close) -> None:
            closed[part] += 1
            close(part)

        monkeypatch.setattr(kind, "close", close)
    return closed


@pytest.fixture
def renewals(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Renewal]]:
    """All that ever began."""
    renewals: list[Renewal] = []

    class Known(Renewal):
        def __enter__(self) -> Renewal:
            renewals.append(self)
            return super().__enter__()

    monkeypatch.setattr("edge.live.Renewal", Known)
    monkeypatch.setattr("edge.live.renewal_command", lambda *_: [sys.executable, "-c", BUILD])
    yield renewals
    for renewal in renewals:
        renewal.__exit__(None, None, None)


class Meddlers:
    """Threads that do one thing each, over and over."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.faults: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[], object]) -> None:
        def run() -> None:
            try:
                while not self.over.is_set():
                    with suppress(RefusedError):
                        work()
            except BaseException as error:
                self.faults.append(error)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def join(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_everything_at_once(
    config: Config,
    bundles: list[Path],
    opened: Opened,
    closed: Counter[CpuColourist | CpuDetector],
    renewals: list[Renewal],
) -> None:
    events: list[Event] = []
    chance, meddlers, switches = random.Random(6), Meddlers(), Counter[str]()

    def switch() -> None:
        bundle = load_bundle(chance.choice(bundles))
        app.switch(open_backend(config, bundle), bundle)
        switches["done"] += 1

    def slow_down() -> None:
        app.governor.limits = Limits(
            chance.choice((1.0, 4.0)), chance.choice((None, 10.0)), chance.choice((1.0, 0.5, 0.75))
        )
        meddlers.over.wait(0.05)

    def renew() -> None:
        meddlers.over.wait(0.05)
        app.renew_engines()

    def change() -> None:
        app.settings.set("overlay", chance.random() < 0.5)
        meddlers.over.wait(0.02)

    def restart() -> None:
        meddlers.over.wait(1.0)
        app.source.restart()

    def is_done() -> bool:
        return switches["done"] >= SWITCHES or bool(meddlers.faults)

    stop = threading.Event()
    with App(config, events.append) as app, Viewer(str(app.rtsp_url)) as viewer:
        for work in (switch, switch, slow_down, renew, change, restart):
            meddlers.start(work)
        app.run(stop, lambda: stop.set() if is_done() else None)
        frames = app.colour.rate.total, app.detect.rate.total, viewer.frames
        stopped_at = switches["done"]
    while switches["done"] < stopped_at + AFTER_THE_STOP and not meddlers.faults:
        meddlers.over.wait(0.05)
    meddlers.join()

    assert meddlers.faults == []
    assert min(frames) > 50
    assert app.colour.fault is None and app.detect.fault is None
    assert {closed[part] for part in opened.parts} == {1}, "each closed, and once"
    assert len(renewals) > 10
    assert all(renewal.is_over for renewal in renewals), "none goes on that nobody stops"
    left = Counter(event.track.id for event in events if event.kind is EventKind.LEAVE)
    assert left == Counter(event.track.id for event in events if event.kind is EventKind.APPEAR)
    assert {event.track.label for event in events} == {"dog", "wolf"}
