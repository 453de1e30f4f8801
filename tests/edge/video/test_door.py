"""Floods against the real RTSP server: those who only connect, say nonsense, or never end."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from edge.station.machine import rss_mb
from edge.video import door, rtsp
from tests.edge.video.test_rtsp import Viewer, probe
from tests.waiting import until

REQUEST = "RTSP/1.0\r\nCSeq: 1\r\n"


@pytest.fixture
def dial():
    """`dial(screen)` opens one more connection to a server; all are closed at the end."""
    wires = []

    def connect(screen):
        port = urlsplit(screen.server.url("colour")).port
        wires.append(socket.create_connection(("127.0.0.1", port), timeout=20))
        return wires[-1]

    yield connect
    for wire in wires:
        wire.close()


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(door, "PATIENCE_S", 1000)


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(door, "PATIENCE_S", 0.5)
    monkeypatch.setattr(rtsp, "_SESSION_CLEANUP_S", 1)


def is_closed(wire):
    """Wait until the other side has closed a line."""
    try:
        while wire.recv(1000):
            pass
    except ConnectionError:
        pass
    return True


def test_who_opens_no_session_goes_and_who_watches_stays(hasty, serve, dial):
    with serve() as screen, Viewer(screen.server.url("colour"), 90) as viewer:
        viewer.first_bytes()
        silent, talkative = dial(screen), dial(screen)
        talkative.sendall(f"OPTIONS * {REQUEST}\r\n".encode())
        assert is_closed(silent) and is_closed(talkative)
        until(lambda: screen.server.clients == 1)
        assert len(viewer.pictures(320, 240)) == 90


def test_a_flood_displaces_itself(patient, monkeypatch, serve, dial):
    monkeypatch.setattr(door, "MAX_CONNECTIONS", 8)
    with serve() as screen, Viewer(screen.server.url("colour"), 60) as viewer:
        viewer.first_bytes()
        flood = [dial(screen) for _ in range(30)]
        assert all(is_closed(wire) for wire in flood[:20])
        until(lambda: screen.server.clients <= 8)
        assert probe(screen.server.url("colour"), "-rtsp_transport", "tcp").returncode == 0, "somebody else gets in"
        assert len(viewer.pictures(320, 240)) == 60


def test_so_many_viewers_and_no_more(serve):
    with serve(max_viewers=1) as screen:
        url = screen.server.url("colour")
        for _ in range(2):  # the place of one who was killed is free again
            with Viewer(url) as viewer:
                viewer.first_bytes()
                refused = probe(url, "-rtsp_transport", "tcp")
                assert refused.returncode != 0 and "503" in refused.stderr
            until(lambda: not screen.server.watching("colour"))


def test_who_begins_and_ends_sessions_without_end_leaves_nothing_behind(patient, serve, dial):
    with serve() as screen:
        url, wire = screen.server.url("colour"), dial(screen)
        for _ in range(5):
            transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            wire.sendall(f"SETUP {url}/stream=0 {REQUEST}{transport}\r\n".encode())
            answer = wire.recv(2000).decode()
            session = re.search(r"^Session: ([^;\r]+)", answer, re.M)
            assert session, answer
            wire.sendall(f"TEARDOWN {url} {REQUEST}Session: {session[1]}\r\n\r\n".encode())
            assert wire.recv(2000).startswith(b"RTSP/1.0 200")
            until(lambda: screen.server._server.get_session_pool().get_n_sessions() == 0)
        (kept,) = screen.server._door._sessions.values()
        assert len(kept) == 1


def test_a_body_that_is_announced_too_long_is_not_waited_for(patient, serve, dial):
    with serve() as screen:
        wire = dial(screen)
        wire.settimeout(10)
        wire.sendall(f"SET_PARAMETER * {REQUEST}Content-Length: 2000000000\r\n\r\n".encode())
        answer = wire.recv(1000)
        assert answer == b"" or b"413" in answer


def test_a_head_that_never_ends_is_cut_off(hasty, serve, dial):
    with serve() as screen, Viewer(screen.server.url("colour"), 60) as viewer:
        viewer.first_bytes()
        wire, before_mb = dial(screen), rss_mb()
        wire.settimeout(1)  # what was sent away is not read any more
        wire.sendall(f"OPTIONS * {REQUEST}".encode())
        with suppress(OSError):
            while True:
                wire.sendall(b"X-Filler: " + b"x" * 2000 + b"\r\n")
        until(lambda: screen.server.clients == 1)
        assert rss_mb() - before_mb < 50
        assert len(viewer.pictures(320, 240)) == 60


def test_a_head_that_never_ends_keeps_nobody_waiting(patient, serve, dial):
    with serve() as screen:
        wire, is_over = dial(screen), threading.Event()
        wire.sendall(f"OPTIONS * {REQUEST}".encode())

        def flood():
            with suppress(OSError):
                while not is_over.is_set():
                    wire.sendall(b"X: y\r\n" * 1000)

        sender = threading.Thread(target=flood)
        sender.start()
        try:
            served = [probe(screen.server.url("colour"), "-rtsp_transport", "tcp").returncode for _ in range(3)]
        finally:
            is_over.set()
            wire.shutdown(socket.SHUT_RDWR)
            sender.join()
    assert served == [0, 0, 0]


def test_without_the_login_nothing_is_set_in_motion(tmp_path, serve, dial):
    (tmp_path / "secret").write_text("night owl\n")
    with serve(username="keeper", password_file=str(tmp_path / "secret")) as screen:
        url = screen.server.url("colour")
        wire = dial(screen)
        transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        for line in ("DESCRIBE {}", "SETUP {}/stream=0", "PLAY {}", "ANNOUNCE {}", "RECORD {}"):
            wire.sendall(f"{line.format(url)} {REQUEST}{transport}\r\n".encode())
            answer = wire.recv(2000).decode()
            assert answer.startswith(("RTSP/1.0 401", "RTSP/1.0 4", "RTSP/1.0 5")), answer
        assert not screen.server.watching("colour")
        assert screen.server._server.get_session_pool().get_n_sessions() == 0
