"""Secrets of the running service: in nothing that it says, shows or writes, also when logins are refused."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.sections import RtspConfig
from edge.video.rtsp import RtspServer
from tests.e2e.service import PATIENCE_S, Sections, Service
from tests.edge.video.conftest import Screen
from tests.mosquitto import Broker, Subscriber, wait_until

CAMERA, VIEWER, BROKER, IN_URL = "camera-hunter1", "viewer-hunter2", "broker-hunter3", "url-hunter4"
SECRET = re.compile(rb"hunter\d")


@pytest.fixture
def secret(tmp_path: Path) -> dict[str, str]:
    """The files that the secrets are in."""
    files = {name: tmp_path / f"{name}.secret" for name in (CAMERA, VIEWER, BROKER)}
    for password, path in files.items():
        path.write_text(password + "\n")
    return {name.partition("-")[0]: str(path) for name, path in files.items()}


@pytest.fixture
def camera(pki: Path, secret: dict[str, str]) -> Iterator[RtspServer]:
    identity = {"cert_file": str(pki / "server.crt"), "key_file": str(pki / "server.key")}
    login = {"username": "keeper", "password_file": secret["camera"]}
    with RtspServer(RtspConfig.model_validate({"port": 0, **login, **identity})) as server:
        screen = Screen(server)
        yield server
        screen.stop()


@pytest.fixture
def broker(pki: Path, tmp_path: Path) -> Iterator[Broker]:
    tls = [f"certfile {pki}/server.crt", f"keyfile {pki}/server.key", f"cafile {pki}/ours.crt"]
    with Broker(tmp_path / "broker", users={"unit": BROKER, "reader": "reader"}, extra=tls) as running:
        yield running


@pytest.fixture
def sections(bundle: Path, camera: RtspServer, broker: Broker, secret: dict[str, str], pki: Path) -> Sections:
    """A secret in every place that takes one."""
    identity = {"cert_file": str(pki / "unit.crt"), "key_file": str(pki / "unit.key")}
    ours = str(pki / "ours.crt")
    source = {"kind": "rtsp", "url": f"{camera.url('colour')}?token={IN_URL}", "ca_file": ours}
    mqtt = {"port": broker.port, "tls": True, "ca_file": ours, "health_interval_s": 1}
    return {
        "service": {"log_level": "debug"},
        "bundle": {"path": str(bundle)},
        "source": {**source, "username": "keeper", "password_file": secret["camera"]},
        "rtsp": {"username": "viewer", "password_file": secret["viewer"], **identity},
        "mqtt": {**mqtt, "username": "unit", "password_file": secret["broker"], **identity},
    }


def test_they_are_told_to_nobody(
    sections: Sections, broker: Broker, camera: RtspServer, pki: Path, secret: dict[str, str], tmp_path: Path
) -> None:
    reader = ["-u", "reader", "-P", "reader", "--cafile", str(pki / "ours.crt")]
    Path(secret["broker"]).write_text("wrong-hunter5\n")
    (tmp_path / "run").mkdir()
    environment = {"PYTHONFAULTHANDLER": "1", "RUNTIME_DIRECTORY": str(tmp_path / "run")}
    with Subscriber(broker, "#", reader) as seen, Service(tmp_path / "unit", sections, environment) as service:
        wait_until(lambda: "Not authorized" in service.stderr, PATIENCE_S, what="the broker refuses")
        Path(secret["broker"]).write_text(BROKER + "\n")
        service.wait_ready()
        wait_until(lambda: "source live" in service.stderr, PATIENCE_S, what="the camera is watched")
        camera.stop()
        wait_until(lambda: "source lost" in service.stderr, PATIENCE_S, what="the camera is missed")
        seen.wait_for(3, "/health")
        lists = process_lists(service.process.pid)
        service.process.send_signal(signal.SIGABRT)  # faulthandler tells where each thread is
        service.wait_end()
        said = "".join(f"{message.topic} {message.payload}" for message in seen.received)
    assert "source" in said and "Thread 0x" in service.stderr, "there is something to look at"
    told = {"log": service.stderr, "messages": said, "processes": lists, "systemd": "".join(service.manager.notes)}
    assert {
        where: SECRET.findall(text.encode()) for where, text in told.items() if SECRET.search(text.encode())
    } == {}
    key_lines = [line for line in (pki / "unit.key").read_text().splitlines() if "-----" not in line]
    assert not [line for line in key_lines if any(line in text for text in told.values())]
    written = [path for path in (tmp_path / "unit/state").rglob("*") if path.is_file()]
    written.append(tmp_path / "run/health.jsonl")
    assert len(written[-1].read_text().splitlines()) >= 3
    assert not [path for path in written if SECRET.search(path.read_bytes())]


def process_lists(process_id: int) -> str:
    """What `ps` shows of the service and its children."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    files = (Path(f"/proc/{each}/{name}") for each in (process_id, *children) for name in ("cmdline", "environ"))
    return "".join(file.read_text() for file in files)


def test_what_is_written_is_for_its_owner(bundle: Path, clip: Path, tmp_path: Path) -> None:
    sections: Sections = {
        "source": {"kind": "file", "path": str(clip)},
        "bundle": {"path": str(bundle)},
        "mqtt": {"port": 1},
        "rtsp": {"enabled": False},
    }
    before = os.umask(0)  # nobody shields it
    try:
        with Service(tmp_path / "unit", sections) as service:
            service.wait_ready()
            wait_until(lambda: list(service.state_dir.glob("spool*")), PATIENCE_S, what="the spool is begun")
            assert service.stop() == 0, service.stderr
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [service.state_dir, *service.state_dir.rglob("*")]}
    assert len(modes) > 2
    assert {str(path): oct(mode) for path, mode in modes.items() if mode & 0o027} == {}
