"""Real web servers on loopback, good and bad."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edge.bundles import download as module
from edge.bundles.download import download, is_local
from edge.bundles.install import SPARE_BYTES
from edge.errors import ConfigError, InputError, TapetumError
from tests.pki import HERE, make_authority, make_certificate

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def server(answer: bytes | Callable[[socket.socket], object], *, reads: bool = True) -> Iterator[str]:
    """Answers one request after the other, as it is told."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            with line, suppress(OSError):
                if reads:
                    line.recv(65536)
                line.sendall(answer) if isinstance(answer, bytes) else answer(line)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/bundle.tar.gz"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def fetch(url: str, path: Path, **more: float) -> bytes:
    with path.open("wb") as file:
        download(url, file, **more)  # type: ignore[arg-type]
    return path.read_bytes()


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 5\r\n\r\nhello",
        OK + b"\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ],
)
def test_what_a_server_gives(answer: bytes, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    with server(answer) as url, (tmp_path / "file").open("wb") as file:
        download(url, file, on_progress=lambda done, total: told.append((done, total)))
    assert (tmp_path / "file").read_bytes() == b"hello"
    assert told[-1] == (5, 5 if b"Length" in answer else None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OK + b"Content-Length: 9\r\n\r\nhello", "ended after 5 of 9 bytes"),
        (OK + b"Content-Length: 99999999999\r\n\r\n", "over 2 GiB"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhe", "IncompleteRead"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", "answers 302 Found: give the address of"),
        (b"HTTP/1.1 401 \x1b[2JNo\r\n\r\n", r"answers 401 \?\[2JNo"),
        (b"SSH-2.0-OpenSSH_9\r\n", "no web server: BadStatusLine"),
        (b"", "cannot be fetched|no web server"),
        (OK + b"X: y\r\n" * 200, "no web server"),
        (OK + b"X: " + b"y" * 70000, "no web server"),
    ],
)
def test_what_a_server_should_not_do(answer: bytes, reason: str, tmp_path: Path) -> None:
    with server(answer) as url, pytest.raises(InputError, match=reason) as told:
        fetch(url, tmp_path / "file")
    assert str(told.value).isprintable() and url in str(told.value)


def test_a_body_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 1 << 20)
    with server(OK + b"\r\n" + bytes(3 << 20)) as url, pytest.raises(InputError, match="not the archive of a bundle"):
        fetch(url, tmp_path / "file")
    assert (tmp_path / "file").stat().st_size <= 1 << 20


def test_a_disk_is_not_filled_before_the_signature_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = SPARE_BYTES + (1 << 20)

    def usage(descriptor: int) -> object:
        return shutil._ntuple_diskusage(free, 0, free - os.fstat(descriptor).st_size)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with (
        server(OK + b"\r\n" + bytes(3 << 20)) as url,
        pytest.raises(TapetumError, match="no room for it, with 16 MiB"),
    ):
        fetch(url, tmp_path / "file")
    assert (tmp_path / "file").stat().st_size <= 2 << 20


def test_a_server_that_is_silent(tmp_path: Path) -> None:
    with server(lambda line: time.sleep(0.5)) as url, pytest.raises(InputError, match="the server is silent"):
        fetch(url, tmp_path / "file", silence_s=0.1)


@pytest.mark.parametrize("start", [b"", OK + b"\r\n"])
def test_a_server_that_gives_a_byte_now_and_then(start: bytes, tmp_path: Path) -> None:
    def dribble(line: socket.socket) -> None:
        line.sendall(start)
        while True:
            line.sendall(b"H")
            time.sleep(0.05)

    with server(dribble) as url, pytest.raises(InputError, match=r"not here after 0\.4 s"):
        fetch(url, tmp_path / "file", silence_s=5, longest_s=0.4)


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Connection refused"):
        fetch("http://127.0.0.1:1/x", tmp_path / "file")
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch("http://nobody.invalid/x", tmp_path / "file")


def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_authority(tmp_path, "ours")
    make_certificate(tmp_path, "server", "ours", HERE)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    def shake(line: socket.socket) -> None:
        with context.wrap_socket(line, server_side=True, do_handshake_on_connect=True) as secure:
            secure.recv(65536)
            secure.sendall(OK + b"Content-Length: 5\r\n\r\nhello")

    with server(shake, reads=False) as url:
        secure_url = url.replace("http:", "https:")
        with pytest.raises(InputError, match=r"certificate not trusted: .*SSL_CERT_FILE"):
            fetch(secure_url, tmp_path / "file")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ours.crt"))
        assert fetch(secure_url, tmp_path / "file") == b"hello"


class TestAddress:
    @pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.7.7", "169.254.1.1", "::1"])
    def test_local(self, address: str) -> None:
        assert is_local(address)

    @pytest.mark.parametrize("address", ["fe80::1%eth0", "fd00::1", "::ffff:192.168.0.1"])
    def test_local_too(self, address: str) -> None:
        assert is_local(address)

    @pytest.mark.parametrize(
        "address",
        ["8.8.8.8", "172.32.0.1", "0.0.0.0", "192.0.2.1", "100.64.0.1", "2001:db8::1", "::", "::ffff:8.8.8.8"],
    )
    def test_elsewhere(self, address: str) -> None:
        assert not is_local(address)

    def test_the_address_that_was_checked_is_the_one_that_is_called(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A name that leads elsewhere the second time (DNS rebinding) is asked once."""
        asked: list[str] = []

        def lookup(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            asked.append(host)
            here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
            there = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))
            return [there, here] if len(asked) == 1 else [there]

        called: list[str] = []

        def connected(address: tuple[str, int], timeout: float) -> socket.socket:
            called.append(address[0])
            line = socket.socket()
            line.settimeout(timeout)
            line.connect(address)
            return line

        with server(OK + b"Content-Length: 5\r\n\r\nhello") as url:
            monkeypatch.setattr(socket, "getaddrinfo", lookup)
            monkeypatch.setattr(socket, "create_connection", connected)
            assert fetch(url.replace("127.0.0.1", "unit.example"), tmp_path / "file") == b"hello"
        assert asked == ["unit.example"] and called == ["127.0.0.1"]

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://192.0.2.1/x", "not on the local net"),
            ("https://[2001:db8::1]/x", "not on the local net"),
            ("http:///x", "not an address"),
            ("http://host:port/x", "not an address"),
            ("http://127.0.0.1:0/x", "not an address"),
            ("http://127.0.0.1/\r\nX: y", "not an address"),
            ("http://user:secret@127.0.0.1/x", "a login in the address"),
            ("http://[::1/x", "not an address"),
        ],
    )
    def test_what_is_refused(self, url: str, reason: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=reason) as told:
            fetch(url, tmp_path / "file")
        assert isinstance(told.value, TapetumError) and "secret" not in str(told.value)

    def test_no_proxy_is_asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        with server(OK + b"Content-Length: 5\r\n\r\nhello") as url:
            assert fetch(url, tmp_path / "file") == b"hello"
