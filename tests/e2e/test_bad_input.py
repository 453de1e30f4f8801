"""What can go wrong on a unit: each fault is told in one clear line with its exit code, or heals by itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.__main__ import main
from tests.e2e.service import PATIENCE_S, ROOT, Sections, Service, Viewer, edge, record, write_config
from tests.edge import spoilt_bundle
from tests.mosquitto import Broker, Subscriber, free_port, wait_until

USAGE, INPUT, BUNDLE, ELSE = 2, 3, 4, 1
QUIET: Sections = {"rtsp": {"enabled": False}, "mqtt": {"enabled": False}}


def assert_told(code: int, returned: int, stderr: str, *words: str) -> None:
    """One line of ours, the last, that names what is wrong."""
    assert returned == code, stderr
    assert "Traceback" not in stderr
    *before, last = stderr.splitlines()
    assert last.startswith("tapetum-edge: ")
    assert not any(line.startswith("tapetum-edge: ") for line in before)
    for word in words:
        assert word in last


@pytest.fixture
def sections(bundle: Path, clip: Path, tmp_path: Path) -> Sections:
    """All is well, and nothing but the networks and the clip is used."""
    return {
        "service": {"state_dir": str(tmp_path / "state")},
        "source": {"kind": "file", "path": str(clip)},
        "bundle": {"path": str(bundle)},
        **QUIET,
    }


@pytest.fixture
def run_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Both `run`, as a process, and `check` tell the same."""

    def both(config: Sections | str, code: int, *words: str) -> None:
        path = tmp_path / "edge.toml"
        path.write_text(config) if isinstance(config, str) else write_config(path, config)
        ran = edge("run", "--config", path)
        assert_told(code, ran.returncode, ran.stderr, *words)
        assert_told(code, main(["check", "--config", str(path)]), capsys.readouterr().err, *words)

    return both


class TestConfiguration:
    def test_no_file(self, tmp_path: Path) -> None:
        path = tmp_path / "nowhere.toml"
        result = edge("run", "--config", path)
        assert_told(USAGE, result.returncode, result.stderr, str(path), "No such file")
        assert main(["check", "--config", str(path)]) == USAGE

    def test_no_toml(self, run_and_check: Callable[..., None]) -> None:
        run_and_check("[source\nkind = 1", USAGE, "edge.toml", "not valid TOML", "line 1")

    def test_unknown_key(self, run_and_check: Callable[..., None]) -> None:
        run_and_check("[source]\nkindd = 'test'", USAGE, "edge.toml", "unknown key source.kindd", "kind, latency_ms")

    def test_ill_typed_key(self, run_and_check: Callable[..., None]) -> None:
        run_and_check("[rtsp]\nport = '8554'", USAGE, "edge.toml", "rtsp.port", "integer", "'8554'")

    def test_missing_secret(self, sections: Sections, run_and_check: Callable[..., None]) -> None:
        login = {"enabled": True, "username": "u", "password_file": "/nowhere/secret"}
        run_and_check({**sections, "mqtt": login}, USAGE, "/nowhere/secret", "No such file")


class TestClip:
    @pytest.mark.parametrize("content", [b"", os.urandom(50_000), b"not a clip, but prose\n" * 2000])
    def test_broken(self, content: bytes, sections: Sections, tmp_path: Path) -> None:
        path = tmp_path / "broken.mp4"
        path.write_bytes(content)
        sections["source"]["path"] = str(path)
        result = edge("run", "--config", write_config(tmp_path / "edge.toml", sections))
        assert_told(INPUT, result.returncode, result.stderr, str(path))
        assert result.stderr.splitlines()[-1].count(str(path)) == 1

    def test_missing(self, sections: Sections, run_and_check: Callable[..., None]) -> None:
        sections["source"]["path"] = "/nowhere/clip.mp4"
        run_and_check(sections, INPUT, "/nowhere/clip.mp4", "no such clip")

    def test_played_once_it_ends_the_service(self, sections: Sections, tmp_path: Path) -> None:
        sections["source"]["loop"] = False
        with Broker(tmp_path / "broker") as broker, Subscriber(broker) as messages:
            sections["mqtt"] = {"port": broker.port}
            with Service(tmp_path / "unit", sections) as service:
                assert service.wait_end() == 0, service.stderr
            messages.wait_for_state("offline")
            appeared = {message.payload["track_id"] for message in messages.on("/appear")}
            assert appeared == {message.payload["track_id"] for message in messages.on("/leave")}
            assert appeared


class TestBundle:
    @pytest.fixture
    def folder(self, tmp_path: Path, sections: Sections) -> Path:
        """Where the configuration looks for the bundle; the test puts one there."""
        sections["bundle"]["path"] = str(tmp_path / "spoilt")
        return tmp_path / "spoilt"

    def test_no_manifest(self, folder: Path, sections: Sections, run_and_check: Callable[..., None]) -> None:
        run_and_check(sections, BUNDLE, str(folder / "manifest.json"), "No such file")

    def test_missing_file(
        self, bundle: Path, folder: Path, sections: Sections, run_and_check: Callable[..., None]
    ) -> None:
        shutil.copytree(bundle, folder)
        (folder / "colorizer_fp32.onnx").unlink()
        run_and_check(sections, BUNDLE, "colorizer_fp32.onnx", "No such file")

    def test_altered_file(
        self, bundle: Path, folder: Path, sections: Sections, run_and_check: Callable[..., None]
    ) -> None:
        path = shutil.copytree(bundle, folder) / "recognizer_fp32.onnx"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        run_and_check(sections, BUNDLE, "recognizer_fp32.onnx", "sha256", "altered")

    def test_wrong_shape(
        self, bundle: Path, folder: Path, sections: Sections, run_and_check: Callable[..., None]
    ) -> None:
        """The context network, where the recognizer should be, rightly signed."""
        spoilt_bundle.with_graph(bundle, folder, "recognizer", (bundle / "context_fp32.onnx").read_bytes())
        words = ("recognizer_fp32.onnx", "inputs", "luma float32[1, 1, 224, 224]", "image float32[1, 1, 320, 320]")
        run_and_check(sections, BUNDLE, *words)

    def test_missing_precision(
        self, bundle: Path, folder: Path, sections: Sections, run_and_check: Callable[..., None]
    ) -> None:
        spoilt_bundle.without_fp32(bundle, folder)
        sections["bundle"]["precision"] = "fp32"
        run_and_check(sections, BUNDLE, "tiny has no fp32", "auto or int8")

    def test_a_label_that_nobody_declared(
        self, bundle: Path, folder: Path, sections: Sections, tmp_path: Path
    ) -> None:
        """Seen first when the white block comes: the error of a running lane, after which systemd tries again."""
        spoilt_bundle.with_labels(bundle, folder, "cat")
        result = edge("run", "--config", write_config(tmp_path / "edge.toml", sections))
        assert_told(ELSE, result.returncode, result.stderr, "bundle tiny 1.0", "label 1 of 1")


class TestMachine:
    def test_port_taken(self, sections: Sections, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            sections["rtsp"] = {"port": port}
            result = edge("run", "--config", write_config(tmp_path / "edge.toml", sections))
        assert_told(ELSE, result.returncode, result.stderr, f"127.0.0.1 port {port}", "in use", "[rtsp]")

    @pytest.mark.parametrize("parent", ["/proc", __file__])
    def test_state_folder_not_writable(self, parent: str, sections: Sections, tmp_path: Path) -> None:
        sections["service"]["state_dir"] = f"{parent}/tapetum"
        result = edge("run", "--config", write_config(tmp_path / "edge.toml", sections))
        assert_told(ELSE, result.returncode, result.stderr, f"{parent}/tapetum", "not writable", "service.state_dir")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


def wait_for_source(messages: Subscriber, state: str) -> None:
    """Until a health message says so."""
    seen = len(messages.on("/health"))

    def is_told() -> bool:
        return any(message.payload["source"]["state"] == state for message in messages.on("/health")[seen:])

    wait_until(is_told, PATIENCE_S, what=f"health tells that the source is {state}")


class TestCamera:
    def test_absent(self, sections: Sections, broker: Broker, tmp_path: Path) -> None:
        sections["source"] = {"kind": "v4l2", "device": "/dev/video-none"}
        sections["rtsp"] = {}
        sections["mqtt"] = {"port": broker.port, "health_interval_s": 1}
        with Subscriber(broker) as messages, Service(tmp_path / "unit", sections) as service:
            service.wait_ready()
            wait_for_source(messages, "lost")
            record(service.url("colour"), tmp_path / "card.mkv", frames=2)
            assert service.stop() == 0, service.stderr
        assert "/dev/video-none" in service.stderr
        assert "Traceback" not in service.stderr

    def test_frozen_gone_and_back(self, sections: Sections, broker: Broker, tmp_path: Path) -> None:
        """One viewer watches all the time: live pictures, the darkened card, and live pictures again."""
        live, card = (80, 255), (0, 60)
        with Camera() as camera, Subscriber(broker) as messages:
            sections["source"] = {"kind": "rtsp", "url": camera.url, "stall_s": 0.5}
            sections["rtsp"] = {}
            sections["mqtt"] = {"port": broker.port, "health_interval_s": 1}
            with Service(tmp_path / "unit", sections) as service:
                service.wait_ready()
                with Viewer(service.url("colour")) as viewer:
                    viewer.wait_for(*live)
                    camera.freeze()
                    viewer.wait_for(*card)
                    wait_for_source(messages, "lost")
                    camera.thaw()
                    viewer.wait_for(*live)
                    camera.kill()
                    viewer.wait_for(*card)
                    camera.start()
                    viewer.wait_for(*live)
                    wait_for_source(messages, "live")
                    camera.freeze()
                    assert service.stop() == 0, "neither the camera nor the viewer holds up the end"
        assert "Traceback" not in service.stderr


class Camera:
    """A network camera, a process of its own."""

    def __init__(self) -> None:
        port = free_port()
        self.url = f"rtsp://127.0.0.1:{port}/live"
        self._command = [sys.executable, str(ROOT / "tests" / "edge" / "video" / "camera.py"), str(port)]

    def __enter__(self) -> Camera:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)


class TestBroker:
    def test_down_at_the_start(self, sections: Sections, tmp_path: Path) -> None:
        broker = Broker(tmp_path / "broker")
        sections["mqtt"] = {"port": broker.port, "health_interval_s": 1}
        with Service(tmp_path / "unit", sections) as service:
            service.wait_ready()
            wait_until(lambda: "cannot connect: Connection refused" in service.stderr, PATIENCE_S)
            with broker, Subscriber(broker) as messages:
                messages.wait_for_state("online", PATIENCE_S)
                messages.wait_for(1, "/events/appear")
                assert service.stop() == 0, service.stderr
                messages.wait_for_state("offline")
        assert "Traceback" not in service.stderr

    def test_refuses_the_login(self, sections: Sections, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("hunter2\n")
        with Broker(tmp_path / "broker", users={"unit": "right"}) as broker:
            login = {"username": "unit", "password_file": str(secret)}
            sections["mqtt"] = {"port": broker.port, "health_interval_s": 1, **login}
            with Service(tmp_path / "unit", sections) as service:
                service.wait_ready()
                wait_until(lambda: "refused user 'unit'" in service.stderr, PATIENCE_S)
                secret.write_text("right\n")
                with Subscriber(broker, "tapetum/#", ["-u", "unit", "-P", "right"]) as messages:
                    messages.wait_for_state("online", PATIENCE_S)
                    assert service.stop() == 0, service.stderr
        assert "Traceback" not in service.stderr
        assert "hunter2" not in service.stderr
