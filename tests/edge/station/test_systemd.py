"""sd_notify against a real datagram socket, as systemd has one."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.station import systemd


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@tapetum-{uuid.uuid4().hex}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        server.settimeout(5)
        yield server


def test_the_life_of_a_service(manager: socket.socket) -> None:
    assert systemd.ready("live, 25 frames a second")
    assert manager.recv(4096) == b"READY=1\nSTATUS=live, 25 frames a second"
    assert systemd.watchdog()
    assert manager.recv(4096) == b"WATCHDOG=1"
    assert systemd.status("no signal")
    assert manager.recv(4096) == b"STATUS=no signal"
    assert systemd.extend_timeout(90.5)
    assert manager.recv(4096) == b"EXTEND_TIMEOUT_USEC=90500000"
    assert systemd.stopping("SIGTERM")
    assert manager.recv(4096) == b"STOPPING=1\nSTATUS=SIGTERM"


def test_a_text_cannot_smuggle_in_a_field(manager: socket.socket) -> None:
    systemd.status("first\nMAINPID=1\r\nWATCHDOG=trigger")
    assert manager.recv(4096) == b"STATUS=first MAINPID=1 WATCHDOG=trigger"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.ready()
    monkeypatch.setenv("NOTIFY_SOCKET", "vsock:2:1234")
    assert not systemd.ready()


def test_a_manager_that_is_gone_or_deaf_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert not systemd.ready()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "deaf"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "deaf"))
        # It never reads: its queue fills, and the call comes back all the same.
        assert not all(systemd.status("x" * 4096) for _ in range(2000))


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("10000000", None, 10.0),
        ("1500000", "own", 1.5),
        ("10000000", "1", None),
        (None, None, None),
        ("0", None, None),
        ("soon", None, None),
    ],
)
def test_watchdog_interval(
    usec: str | None, pid: str | None, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"WATCHDOG_USEC": usec, "WATCHDOG_PID": str(os.getpid()) if pid == "own" else pid}.items():
        monkeypatch.delenv(key, raising=False)
        if value is not None:
            monkeypatch.setenv(key, value)
    assert systemd.watchdog_interval_s() == expected
