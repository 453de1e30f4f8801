"""The backend of a running service: exchanged while people watch, and for new engines as they are built."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.app import App
from edge.bundles.bundle import load_bundle, read_manifest, write_manifest
from edge.bundles.manifest import MODEL_NAMES
from edge.config import Config, parse_config
from edge.engines.store import EngineError
from edge.errors import RefusedError, StoppedError, TapetumError
from edge.inference.cuda import GpuMemoryError
from edge.types import Event, EventKind
from edge.vision.backend import open_backend
from tests.clip import make_clip
from tests.e2e.service import ServiceManager, Viewer
from tests.edge.standing import Opened, orin, write_engines_of
from tests.edge.telemetry.schemas import validate
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.mosquitto import Broker, Subscriber, wait_until

# In place of `tapetum-build ensure`: it takes a while, tells, and puts engines where they belong.
BUILD = """
import json, shutil, sys, time
ready, engines, model_names = sys.argv[1], sys.argv[2], sys.argv[3:]
print(json.dumps({"state": "building", "model": "context", "precision": "fp32", "percent": 1}), flush=True)
time.sleep(1)
shutil.copytree(ready, engines, dirs_exist_ok=True)
for model in model_names:
    print(json.dumps({"state": "built", "model": model, "precision": "fp32"}), flush=True)
"""
FAIL = "import sys; sys.exit('tapetum-build: disk full: make room')"
LAST = "import time; print('working', flush=True); time.sleep(600)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "night.mp4")


@pytest.fixture
def configured(folder: Path, clip: Path, tmp_path: Path) -> Callable[..., Config]:
    def make(runtime: str = "auto", **sections: dict[str, object]) -> Config:
        all_is_well: dict[str, dict[str, object]] = {
            "service": {"state_dir": str(tmp_path / "state"), "runtime": runtime},
            "source": {"kind": "file", "path": str(clip)},
            "bundle": {"path": str(folder)},
            "rtsp": {"enabled": False},
            "mqtt": {"enabled": False},
        }
        return parse_config({**all_is_well, **sections}, origin="test")

    return make


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    opened = orin(monkeypatch)
    yield opened
    assert all(part.is_closed for part in opened.parts), "nothing stays open"


@pytest.fixture
def renewing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What renews engines from now on: a program of ours."""
    ready = tmp_path / "ready"
    ready.mkdir()
    write_engines_of(folder, ready)

    def use(program: str) -> None:
        command = [sys.executable, "-c", program, str(ready), str(tmp_path / "state" / "engines"), *MODEL_NAMES]
        monkeypatch.setattr("edge.live.renewal_command", lambda *_: command)

    return use


def run_until(app: App, condition: Callable[[], object]) -> None:
    stop = threading.Event()
    app.run(stop, lambda: stop.set() if condition() else None)


def runtime(app: App) -> str:
    return app.live.info.runtime


class TestSwitch:
    @pytest.fixture
    def other(self, folder: Path, tmp_path: Path) -> Path:
        """A bundle that calls a dog a wolf."""
        copy = shutil.copytree(folder, tmp_path / "other")
        write_manifest(copy, read_manifest(copy).model_copy(update={"labels": ("cat", "wolf"), "version": "2.0"}))
        return copy

    def test_another_bundle_while_somebody_watches(
        self, configured: Callable[..., Config], other: Path, tmp_path: Path
    ) -> None:
        with Broker(tmp_path / "broker") as broker, Subscriber(broker) as messages:
            mqtt = {"port": broker.port, "health_interval_s": 1}
            config = configured(rtsp={"port": 0}, mqtt=mqtt, detect={"appear_after": 1, "leave_after_s": 600.0})
            with App(config) as app, Viewer(str(app.rtsp_url)) as viewer:
                run_until(app, lambda: messages.on("/appear") and viewer.frames)
                bundle = load_bundle(other)
                former = app.colour._colourists.current
                app.switch(open_backend(config, bundle), bundle)
                run_until(app, lambda: len(messages.on("/appear")) > 1)
                viewer.wait_for(0, 255)
                told = len(messages.on("/health"))
                run_until(app, lambda: len(messages.on("/health")) > told)
                assert app.colour._colourists.current is not former
        events = [message.payload for message in messages.received if "/events/" in message.topic]
        for event in events:
            validate(event)
        said = [(event["kind"], event["label"], event["bundle"]["version"]) for event in events]
        before, after = said[: said.index(("appear", "wolf", "2.0"))], said[said.index(("appear", "wolf", "2.0")) :]
        assert before[-1] == ("leave", "dog", "1.0"), "what the old bundle saw leaves under its name"
        assert {(label, version) for _, label, version in before} == {("dog", "1.0")}
        assert {(label, version) for _, label, version in after} == {("wolf", "2.0")}
        assert messages.on("/health")[-1].payload["bundle"]["version"] == "2.0"

    def test_the_engines_of_the_new_bundle_are_renewed(
        self, configured: Callable[..., Config], other: Path, renewing: Callable[[str], None], folder: Path
    ) -> None:
        """And those of the old one not any more."""
        renewing(LAST)
        with App(configured()) as app:
            first = app.live._renewal
            bundle = load_bundle(other)
            app.switch(open_backend(app.config, bundle), bundle)
            second = app.live._renewal
            assert first is not None and second is not None and first is not second
            assert (first.is_over, second.is_over) == (True, False)
            run_until(app, lambda: app.live.info.version == "2.0")
            app.switch(open_backend(app.config, bundle), bundle)
            assert app.live._renewal is second, "the same bundle needs no others"


class TestNewEngines:
    def test_they_are_taken_between_two_frames(
        self, configured: Callable[..., Config], opened: Opened, renewing: Callable[[str], None], tmp_path: Path
    ) -> None:
        renewing(BUILD)
        events: list[Event] = []
        config = configured(detect={"appear_after": 1, "leave_after_s": 600.0})
        with App(config, events.append) as app:
            assert runtime(app) == "openvino"
            run_until(app, lambda: app.detect.tracks)
            run_until(app, lambda: runtime(app) == "tensorrt")
            frames, seen = app.colour.rate.total, app.detect.rate.total
            run_until(app, lambda: app.colour.rate.total > frames + 5 and app.detect.rate.total > seen + 5)
            assert (app.live.info.precision, app.live.info.runtime_detail) == ("fp32", "")
            assert app.detect.tracks
        assert [event.kind for event in events if event.kind is not EventKind.UPDATE] == ["appear", "leave"]
        assert len(opened.parts) == 2, "opened once"

    def test_those_that_do_not_work_change_nothing(
        self, configured: Callable[..., Config], opened: Opened, renewing: Callable[[str], None], tmp_path: Path
    ) -> None:
        renewing(BUILD)
        for path in (tmp_path / "ready").glob("recognizer.*.engine"):
            opened.failing[tmp_path / "state" / "engines" / path.name] = GpuMemoryError("the memory of Orin is full")
        with App(configured()) as app:
            run_until(app, lambda: app.live.info.runtime_detail == "the memory of Orin is full")
            assert runtime(app) == "openvino"
            frames = app.colour.rate.total
            run_until(app, lambda: app.colour.rate.total > frames)
        assert len(opened.parts) == 1, "the colourist, which was closed again"

    def test_those_that_run_already_are_left_alone(
        self, configured: Callable[..., Config], opened: Opened, renewing: Callable[[str], None], tmp_path: Path
    ) -> None:
        shutil.copytree(tmp_path / "ready", tmp_path / "state" / "engines")
        renewing(BUILD)
        with App(configured()) as app:
            renewal = app.live._renewal
            assert renewal is not None
            assert runtime(app) == "tensorrt"
            running = app.colour._colourists.current
            run_until(app, lambda: renewal.is_over and app.colour.newest)
            assert app.colour._colourists.current is running
            assert len(opened.parts) == 4
            assert [part.is_closed for part in opened.parts] == [False, False, True, True]

    def test_on_demand(
        self, configured: Callable[..., Config], opened: Opened, renewing: Callable[[str], None]
    ) -> None:
        with App(configured(engines={"renew": "off"})) as app:
            with pytest.raises(RefusedError, match=r"no engines are built here.*engines\.renew"):
                app.renew_engines()
            renewing(BUILD)
            app.renew_engines()
            with pytest.raises(RefusedError, match="being renewed already"):
                app.renew_engines()
            run_until(app, lambda: runtime(app) == "tensorrt")

    def test_those_that_did_not_work_at_the_start_are_tried_again(
        self, configured: Callable[..., Config], opened: Opened, renewing: Callable[[str], None], tmp_path: Path
    ) -> None:
        shutil.copytree(tmp_path / "ready", tmp_path / "state" / "engines")
        for path in (tmp_path / "state" / "engines").glob("recognizer.*.engine"):
            opened.failing[path] = GpuMemoryError("the memory of Orin is full")
        with App(configured()) as app:
            assert (runtime(app), app.live.info.runtime_detail) == ("openvino", "the memory of Orin is full")
            opened.failing.clear()
            renewing("pass")
            app.renew_engines()
            run_until(app, lambda: runtime(app) == "tensorrt")
            assert app.live.info.runtime_detail == ""


class TestInsisted:
    """service.runtime = "tensorrt"."""

    def test_engines_are_built_before_the_start(
        self,
        configured: Callable[..., Config],
        opened: Opened,
        renewing: Callable[[str], None],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        renewing(BUILD)
        manager = ServiceManager(tmp_path / "notify")
        with Broker(tmp_path / "broker") as broker, Subscriber(broker) as messages:
            monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))  # mosquitto would tell it that it is ready
            with App(configured("tensorrt", mqtt={"port": broker.port})) as app:
                assert runtime(app) == "tensorrt"
                run_until(app, lambda: manager.count("READY=1"))
            states = [m.payload["state"] for m in messages.received if "/engines/" in m.topic]
        manager.close()
        assert states == ["building", "built", "built", "built"]
        kinds = [note.split("=")[0] for note in manager.notes]
        is_ready = kinds.index("READY")
        assert "EXTEND_TIMEOUT_USEC" in kinds[:is_ready]
        assert "EXTEND_TIMEOUT_USEC" not in kinds[is_ready:], "it would hold up the watchdog"
        assert len(opened.parts) == 2, "what was opened at the start is good enough"

    def test_they_cannot_be_built(
        self, configured: Callable[..., Config], opened: Opened, renewing: Callable[[str], None]
    ) -> None:
        """What was in the way may be gone when systemd starts the service again: the exit code is not that of a
        bundle."""
        renewing(FAIL)
        with pytest.raises(TapetumError, match=r"could not be built: .*disk full: make room") as told:
            App(configured("tensorrt")).__enter__()
        assert told.value.exit_code == 1

    def test_those_that_were_built_do_not_fit(
        self, configured: Callable[..., Config], opened: Opened, renewing: Callable[[str], None]
    ) -> None:
        renewing("pass")
        with pytest.raises(TapetumError, match=r"were built, and do not work: .*no fp32 engine of context") as told:
            App(configured("tensorrt")).__enter__()
        assert told.value.exit_code == 1

    def test_nothing_builds_them(self, configured: Callable[..., Config], opened: Opened) -> None:
        with pytest.raises(EngineError, match="run tapetum-build ensure"):
            App(configured("tensorrt", engines={"renew": "off"})).__enter__()

    def test_the_wait_can_be_ended(
        self, configured: Callable[..., Config], opened: Opened, renewing: Callable[[str], None]
    ) -> None:
        """Viewers see the card meanwhile."""
        renewing(LAST)
        stop = threading.Event()
        app = App(configured("tensorrt", rtsp={"port": 0}), stop=stop)
        ended: list[BaseException] = []

        def start() -> None:
            try:
                app.__enter__()
            except BaseException as error:
                ended.append(error)

        starting = threading.Thread(target=start)
        starting.start()
        wait_until(lambda: getattr(getattr(app, "live", None), "_renewal", None) is not None)
        renewal = app.live._renewal
        with Viewer(str(app.rtsp_url)) as viewer:
            viewer.wait_for(10, 60)
        stop.set()
        starting.join(30)
        assert [type(error) for error in ended] == [StoppedError]
        assert renewal is not None and renewal.is_over
        assert StoppedError.exit_code == 0
