"""The composition root in this process: what runs, how it ends, and what is left when it cannot start."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge import opening
from edge.app import App
from edge.config import Config, parse_config
from edge.errors import BundleError, InputError, TapetumError
from edge.opening import writable_folder
from edge.telemetry.mqtt import MqttState
from edge.tracking import Tracker
from edge.types import Event, EventKind
from edge.vision.scene import SceneWatch
from tests.clip import make_clip
from tests.e2e.service import ServiceManager
from tests.edge import spoilt_bundle
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.mosquitto import Broker, Subscriber


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "night.mp4")


@pytest.fixture
def configured(bundle: Path, clip: Path, tmp_path: Path) -> Callable[..., Config]:
    """A configuration with sections of its own; without them there is neither RTSP nor MQTT."""

    def make(**sections: dict[str, object]) -> Config:
        all_is_well: dict[str, dict[str, object]] = {
            "service": {"state_dir": str(tmp_path / "state")},
            "source": {"kind": "file", "path": str(clip)},
            "bundle": {"path": str(bundle)},
            "rtsp": {"enabled": False},
            "mqtt": {"enabled": False},
        }
        return parse_config({**all_is_well, **sections}, origin="test")

    return make


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """However a test ends the service, none of its threads survives."""
    before = set(threading.enumerate())
    yield
    ours = {"colour", "commands", "detect", "mqtt", "rtsp", "source", "spool"}
    ours |= {"engines", "governor", "updates", "watch"}
    assert [thread.name for thread in set(threading.enumerate()) - before if thread.name in ours] == []


def run_until(app: App, condition: Callable[[], object]) -> None:
    """Run the service until the condition holds."""
    stop = threading.Event()
    app.run(stop, lambda: stop.set() if condition() else None)


def test_neither_rtsp_nor_mqtt_is_needed(configured: Callable[..., Config]) -> None:
    events: list[Event] = []
    with App(configured(), events.append) as app:
        run_until(app, lambda: EventKind.UPDATE in [event.kind for event in events])
        assert (app.rtsp_url, app.mqtt) == (None, None)
    kinds = [event.kind for event in events]
    assert (kinds[0], kinds[-1]) == (EventKind.APPEAR, EventKind.LEAVE)
    assert app.events == len(events)
    assert app.colour.rate.total > app.detect.rate.total > 0


def test_the_end_is_in_order(configured: Callable[..., Config], tmp_path: Path) -> None:
    """The last events reach the broker, then it is told offline; nobody answers at the RTSP port any more."""
    with Broker(tmp_path / "broker") as broker, Subscriber(broker) as messages:
        with App(configured(mqtt={"port": broker.port}, rtsp={"port": 0})) as app:
            run_until(app, lambda: messages.on("/appear"))
            assert app.rtsp is not None
            port = int(app.rtsp.url("colour").split(":")[2].split("/")[0])
        messages.wait_for_state("offline")
        assert [message.topic.split("/")[-1] for message in messages.received][-2:] == ["leave", "status"]
    assert app.mqtt is not None
    assert (app.mqtt.queued, app.mqtt.state) == (0, MqttState.OFFLINE)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_stop_that_came_during_the_start(configured: Callable[..., Config]) -> None:
    stop = threading.Event()
    stop.set()
    with App(configured()) as app:
        app.run(stop)
    assert app.events == 0


@pytest.mark.parametrize("commands", [{}, {"enabled": True}])
def test_commands_are_off_unless_they_are_asked_for(
    commands: dict[str, object], configured: Callable[..., Config], tmp_path: Path
) -> None:
    with Broker(tmp_path / "broker", extra=["log_type all"]) as broker:
        with App(configured(mqtt={"port": broker.port}, commands=commands)) as app:
            run_until(app, lambda: app.mqtt and app.mqtt.published > 2)
        assert ("Received SUBSCRIBE" in broker.log()) is bool(commands)


@pytest.mark.parametrize("lane", ["colour", "detect"])
def test_a_bug_in_a_lane_ends_the_service(
    lane: str, configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"colour": (SceneWatch, "picture"), "detect": (Tracker, "update")}[lane]
    monkeypatch.setattr(*where, lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError) as raised, App(configured()) as app:
        app.run(threading.Event())
    assert any(entry.path.name == "lanes.py" for entry in raised.traceback), "the traceback leads to the bug"


def test_a_bug_in_the_source_ends_the_service(
    configured: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.video.capture.luma_of", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError), App(configured()) as app:
        app.run(threading.Event())


def test_a_bug_at_the_very_end_is_told(configured: Callable[..., Config]) -> None:
    """The leave events are published while the service stops."""

    def publish(event: Event) -> None:
        if event.kind is EventKind.LEAVE:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), App(configured(), publish) as app:
        run_until(app, lambda: app.detect.tracks)


def test_a_bug_at_the_very_end_does_not_hide_what_ended_it(configured: Callable[..., Config]) -> None:
    def publish(event: Event) -> None:
        if event.kind is EventKind.LEAVE:
            raise ZeroDivisionError

    def poll() -> None:
        if app.detect.tracks:
            raise KeyError

    with pytest.raises(KeyError), App(configured(), publish) as app:
        app.run(threading.Event(), poll)


class TestStart:
    def test_no_bundle(self, configured: Callable[..., Config], tmp_path: Path) -> None:
        with pytest.raises(BundleError), App(configured(bundle={"path": str(tmp_path)})):
            pass

    def test_a_broken_graph(self, configured: Callable[..., Config], bundle: Path, tmp_path: Path) -> None:
        """The last of the three networks; those before it are given back."""
        folder = spoilt_bundle.with_graph(bundle, tmp_path / "spoilt", "recognizer", b"not a graph")
        with pytest.raises(BundleError, match="recognizer_fp32"), App(configured(bundle={"path": str(folder)})):
            pass

    def test_the_bundle_that_ships_is_the_default(
        self, configured: Callable[..., Config], bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edge.bundles.store.DEMO_BUNDLE", bundle)
        opened = opening.open_bundle(configured(bundle={"precision": "int8"}))
        assert (opened.folder, opened.precision) == (bundle, "int8")

    def test_a_port_that_is_taken_undoes_what_was_started(
        self, configured: Callable[..., Config], tmp_path: Path
    ) -> None:
        with Broker(tmp_path / "broker") as broker, Subscriber(broker) as messages:
            with socket.create_server(("127.0.0.1", 0)) as other:
                port = other.getsockname()[1]
                config = configured(rtsp={"port": port}, mqtt={"port": broker.port})
                with pytest.raises(TapetumError, match=f"port {port}"), App(config):
                    pass
            messages.wait_for_state("offline")

    def test_a_clip_that_is_none_is_told_by_run(self, configured: Callable[..., Config], tmp_path: Path) -> None:
        path = tmp_path / "prose.mp4"
        path.write_text("not a clip " * 1000)
        config = configured(source={"kind": "file", "path": str(path)})
        with pytest.raises(InputError) as told, App(config) as app:
            app.run(threading.Event())
        assert str(told.value).count(str(path)) == 1


def test_ready_is_told_once_also_without_a_camera(
    configured: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = ServiceManager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    with App(configured(source={"kind": "v4l2", "device": "/dev/video-none"})) as app:
        run_until(app, lambda: app.source.status.rebuilds >= 1 and manager.count("READY=1"))
    manager.close()
    assert manager.count("READY=1") == 1
    assert manager.count("STATUS=source lost") == 1
    assert manager.notes[-1].startswith("STOPPING=1")


class TestWritableFolder:
    def test_it_is_made_and_left_clean(self, tmp_path: Path) -> None:
        folder = writable_folder(tmp_path / "state" / "networks")
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("parent", ["/proc", __file__])
    def test_what_cannot_be_one(self, parent: str) -> None:
        with pytest.raises(TapetumError, match=r"not writable .* set service\.state_dir"):
            writable_folder(Path(parent) / "networks")
