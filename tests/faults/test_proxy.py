"""The bad line is as bad as it says, and no worse."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Proxy
from tests.mosquitto import HOST

WORDS = bytes(range(256)) * 64


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that answers with what it is told."""
    with socket.create_server((HOST, 0)) as server:
        threading.Thread(target=_answer, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _answer(server: socket.socket) -> None:
    try:
        while True:
            line, _ = server.accept()
            with line:
                while piece := line.recv(4096):
                    line.sendall(piece)
    except OSError:
        return


def through(proxy: Proxy) -> bytes:
    """What comes back of WORDS."""
    with socket.create_connection((HOST, proxy.port), 5) as line:
        line.sendall(WORDS)
        back = bytearray()
        while len(back) < len(WORDS):
            back += line.recv(4096)
        return bytes(back)


def test_a_good_line_changes_nothing(echo: int) -> None:
    with Proxy(echo) as proxy:
        assert through(proxy) == WORDS


def test_bit_errors_are_as_many_as_was_said(echo: int) -> None:
    with Proxy(echo) as proxy:
        proxy.bit_errors = 1e-2
        wrong = sum((a ^ b).bit_count() for a, b in zip(through(proxy), WORDS, strict=True))
    assert 0.5e-2 * len(WORDS) < wrong < 2e-2 * len(WORDS)


def test_a_slow_line_takes_its_time(echo: int) -> None:
    with Proxy(echo) as proxy:
        proxy.bytes_per_s = 2.0 * len(WORDS)
        began_s = time.monotonic()
        assert through(proxy) == WORDS
    assert time.monotonic() - began_s >= 0.5


def test_a_cut_line_stands_and_goes_on_when_it_is_mended(echo: int) -> None:
    with Proxy(echo) as proxy, socket.create_connection((HOST, proxy.port), 5) as line:
        proxy.is_cut = True
        line.sendall(b"hello")
        line.settimeout(0.3)
        with pytest.raises(TimeoutError):
            line.recv(5)
        proxy.is_cut = False
        line.settimeout(5)
        assert line.recv(5) == b"hello"


def test_nobody_behind_it_closes_the_line(echo: int) -> None:
    with socket.create_server((HOST, 0)) as taken:
        nobody = taken.getsockname()[1]
    with Proxy(nobody) as proxy, socket.create_connection((HOST, proxy.port), 5) as line:
        assert line.recv(1) == b""
