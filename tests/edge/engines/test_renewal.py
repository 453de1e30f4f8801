"""The renewal of engines: real processes, with the real TensorRT where one builds."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from edge.app import App
from edge.bundles.bundle import DEMO_BUNDLE, Bundle, load_bundle
from edge.bundles.manifest import MODEL_NAMES
from edge.config import Config, parse_config
from edge.engines import renewal
from edge.engines.progress import BuildProgress
from edge.engines.renewal import Renewal, renewal_command
from edge.engines.store import read_sidecar
from edge.inference.cuda import Gpu
from edge.priority import NICENESS
from tests.clip import make_clip
from tests.e2e.service import ServiceManager
from tests.edge.telemetry.schemas import validate
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.mosquitto import Broker, Received, Subscriber, wait_until
from tests.tensorrt_runtime import tensorrt_folder

LINE = '{"state": "building", "model": "context", "precision": "int8", "detail": "Timing", "percent": 7}'
TALKS = f"import sys, time; print('{LINE}', flush=True); "
ORIN = Gpu("Orin", "8.7", True, "12.6", 8 << 30)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture
def told() -> list[BuildProgress]:
    return []


def python(code: str) -> Sequence[str]:
    return [sys.executable, "-c", code]


def ended(running: Renewal) -> None:
    wait_until(lambda: not running._thread.is_alive(), what="the process has ended")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def of_engines(messages: Subscriber) -> list[Received]:
    return [message for message in list(messages.received) if "/engines/" in message.topic]


class TestCommand:
    @pytest.fixture(autouse=True)
    def tensorrt_is_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(tensorrt_folder())

    def test_where_there_is_no_gpu(self, bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            assert renewal_command(Config(), bundle) is None
        assert "no NVIDIA GPU in this machine" in caplog.text

    def test_where_there_is_one(self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(renewal, "find_gpu", lambda: ORIN)
        command = renewal_command(Config(), bundle)
        assert command is not None
        assert command[1:] == [
            *("-m", "trt_build", "ensure", str(bundle.folder), "--progress", "json"),
            *("--engines", "/var/lib/tapetum/engines", "--precision", "auto"),
        ]
        config = parse_config({"bundle": {"public_key": "/etc/key.pem", "allow_refused": True}}, origin="test")
        command = renewal_command(config, bundle)
        assert command is not None
        assert command[-3:] == ["--public-key", "/etc/key.pem", "--allow-refused"]
        shipped = renewal_command(config, load_bundle(DEMO_BUNDLE, "auto"))
        assert shipped is not None and "--public-key" not in shipped, "no key has signed it"

    def test_a_gpu_without_tensorrt(
        self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(renewal, "find_gpu", lambda: ORIN)
        monkeypatch.setattr(renewal, "find_spec", lambda name: None)
        with caplog.at_level(logging.INFO):
            assert renewal_command(Config(), bundle) is None
        assert "no TensorRT is installed" in caplog.text

    def test_switched_off(self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(renewal, "find_gpu", lambda: ORIN)
        assert renewal_command(parse_config({"engines": {"renew": "off"}}, origin="test"), bundle) is None
        assert renewal_command(parse_config({"service": {"runtime": "cpu"}}, origin="test"), bundle) is None


class TestProcess:
    def test_its_lines_are_forwarded(self, told: list[BuildProgress], caplog: pytest.LogCaptureFixture) -> None:
        """A line that says nothing new is a sign of life; one that is no progress is left out."""
        with Renewal(python(f"{TALKS} print('WARNING: noise'); print('{LINE}')"), told.append) as running:
            ended(running)
        expected = BuildProgress(state="building", model="context", precision="int8", detail="Timing", percent=7)
        assert told == [expected]
        assert str(expected) == "context int8 building 7 %"
        assert warnings(caplog) == []

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            ("import sys; sys.exit('tapetum-build: no GPU: buy one')", r"no GPU: buy one \(exit code 1\)"),
            ("import os; os.abort()", r"it said nothing \(exit code -6\)"),
            ("import os; os.write(1, b'\\xff\\xfe\\n'); os._exit(3)", r"exit code 3"),
        ],
    )
    def test_a_failure_is_one_warning(
        self, code: str, words: str, told: list[BuildProgress], caplog: pytest.LogCaptureFixture
    ) -> None:
        with Renewal(python(code), told.append) as running:
            ended(running)
        (warning,) = warnings(caplog)
        assert warning.startswith("the engines could not be renewed: ")
        assert warning.endswith("; going on with what there is")
        assert re.search(words, warning)
        assert re.search(words, running.failure)
        assert told == []

    @pytest.mark.parametrize(
        ("steps", "code", "calls"),
        [
            (["kept"], 0, [False]),
            (["kept", "built"], 0, [True]),
            (["built", "failed"], 1, [True]),
            (["built", "built"], 0, [True]),
            ([], 0, [False]),
            (["failed"], 1, []),
        ],
    )
    def test_what_was_built_is_told_once_at_the_end(self, steps: list[str], code: int, calls: list[bool]) -> None:
        lines = [BuildProgress.model_validate({"state": step}).model_dump_json() for step in steps]
        built: list[bool] = []
        with Renewal(python(f"print(*{lines}, sep='\\n'); exit({code})"), lambda _: None, built.append) as it:
            ended(it)
        assert built == calls
        assert bool(it.failure) == bool(code)

    def test_what_was_built_until_the_stop_is_left_for_the_next_start(self) -> None:
        line = BuildProgress(state="built").model_dump_json()
        has_begun = threading.Event()
        code = f"import time; print('{line}', flush=True); time.sleep(600)"
        with Renewal(python(code), lambda _: has_begun.set(), lambda _: pytest.fail("nobody needs it any more")):
            assert has_begun.wait(30)

    def test_a_program_that_is_not_there(self, caplog: pytest.LogCaptureFixture) -> None:
        with Renewal(["/nowhere/python"], lambda progress: None):
            pass
        (warning,) = warnings(caplog)
        assert "could not be renewed: /nowhere/python: No such file or directory; going on" in warning

    @pytest.mark.parametrize("deaf", [False, True])
    def test_it_is_stopped_with_the_service(
        self, deaf: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(renewal, "STOP_S", 0.2)
        ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if deaf else ""
        has_begun = threading.Event()
        with Renewal(python(f"{ignore}{TALKS} time.sleep(600)"), lambda progress: has_begun.set()) as running:
            assert has_begun.wait(30)
            assert running._child is not None
            child = running._child
            assert os.getpriority(os.PRIO_PROCESS, child.pid) == max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
        assert child.returncode == -(signal.SIGKILL if deaf else signal.SIGTERM)
        assert not running._thread.is_alive()
        assert warnings(caplog) == []


class TestService:
    @pytest.fixture
    def clip(self, tmp_path: Path) -> Path:
        return make_clip(tmp_path / "night.mp4")

    @pytest.fixture
    def broker(self, tmp_path: Path) -> Iterator[Broker]:
        with Broker(tmp_path / "broker") as broker:
            yield broker

    @pytest.fixture
    def config(self, bundle: Bundle, clip: Path, broker: Broker, tmp_path: Path) -> Config:
        document = {
            "service": {"state_dir": str(tmp_path / "state")},
            "source": {"kind": "file", "path": str(clip)},
            "bundle": {"path": str(bundle.folder)},
            "engines": {"renew": "dry-run"},
            "rtsp": {"enabled": False},
            "mqtt": {"port": broker.port},
        }
        return parse_config(document, origin="test")

    @staticmethod
    def run(config: Config, until: Callable[[App], object]) -> None:
        stop = threading.Event()
        with App(config) as app:
            app.run(stop, lambda: stop.set() if until(app) else None)

    def test_engines_are_built_while_it_runs(
        self, config: Config, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the real TensorRT; the broker is told, systemd is not; the second start builds nothing."""
        monkeypatch.setenv("PYTHONPATH", str(tensorrt_folder()))
        manager = ServiceManager(tmp_path / "notify")
        monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
        for state in ("built", "kept"):
            with Subscriber(broker) as messages:

                def is_done(app: App, state: str = state, messages: Subscriber = messages) -> bool:
                    ends = [message for message in of_engines(messages) if message.payload["state"] == state]
                    return [message.topic.split("/")[-1] for message in ends] == list(MODEL_NAMES)

                self.run(config, is_done)
                for message in of_engines(messages):
                    validate(message.payload)
                    assert message.topic == f"tapetum/tapetum-1/engines/{message.payload['model']}"
        manager.close()
        assert not [note for note in manager.notes if "EXTEND_TIMEOUT" in note], "it would hold up the watchdog"
        engines = list((tmp_path / "state" / "engines").glob("*.engine"))
        assert len(engines) == 3
        assert all(read_sidecar(engine).dry_run for engine in engines)

    def test_without_tensorrt_it_goes_on(
        self, config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
        self.run(config, lambda app: warnings(caplog) and app.colour.rate.total > 0)
        (warning,) = warnings(caplog)
        assert "TensorRT is not installed" in warning
