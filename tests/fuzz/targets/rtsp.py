"""RTSP: whatever one client sends, the next one is served, and nothing is left behind."""

from __future__ import annotations

import base64
import re
import socket
import threading
import time
from pathlib import Path

import numpy as np

from edge.errors import InputError
from edge.sections import RtspConfig
from edge.video.nv12 import from_luma
from edge.video.rtsp import RtspServer
from tests.fuzz.target import SECRET, Target

URL = b"rtsp://127.0.0.1:8554"
ANSWER_S = 20.0  # within which a well-behaved client has its answer, on a busy machine
SETTLED = 3  # batches after which the server has what it needs
GROWTH_MIB = 48  # and what it may take from then on


def _request(method: bytes, path: bytes = b"/colour", *headers: bytes, number: int = 1, body: bytes = b"") -> bytes:
    lines = [b"%b %b%b RTSP/1.0" % (method, URL, path), b"CSeq: %d" % number, *headers, b"", body]
    return b"\r\n".join(lines)


DESCRIBE = _request(b"DESCRIBE", b"/colour", b"Accept: application/sdp")
SETUP = _request(b"SETUP", b"/colour/stream=0", b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1", number=2)
SETUP_UDP = _request(b"SETUP", b"/nir/stream=0", b"Transport: RTP/AVP;unicast;client_port=50000-50001", number=2)
PLAY = _request(b"PLAY", b"/colour", b"Session: 12345678", b"Range: npt=0-", number=3)
LOGIN = b'Authorization: Digest username="keeper", realm="x", nonce="1", uri="/colour", response="0"'
TUNNEL = b"GET /colour HTTP/1.1\r\nx-sessioncookie: abc\r\nAccept: application/x-rtsp-tunnelled\r\n\r\n"


class Rtsp(Target):
    """Bytes that a client sends on one connection."""

    tokens = (
        *(
            b"OPTIONS",
            b"DESCRIBE",
            b"ANNOUNCE",
            b"SETUP",
            b"PLAY",
            b"PAUSE",
            b"TEARDOWN",
            b"GET_PARAMETER",
            b"RECORD",
        ),
        *(b"SET_PARAMETER", b"REDIRECT", b"RTSP/1.0", b"RTSP/2.0", b"HTTP/1.1", b"\r\n", b"\r\n\r\n", b"$\0\xff\xff"),
        *(b"Content-Length: ", b"Transport: ", b"Session: ", b"Range: ", b"Require: ", b"CSeq: ", b"Authorization: "),
        *(b"/colour", b"/nir", b"/../", b"%00", b"*", b"Blocksize: ", b"Scale: ", b"multicast", b"client_port="),
    )
    is_python = False
    with_login = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        secret = folder / "secret"
        secret.write_text(SECRET)
        login = {"username": "keeper", "password_file": str(secret)} if self.with_login else {}
        self._server = RtspServer(RtspConfig(port=0, **login))
        self._server.start()
        self.port = int(self._server.url("colour").rsplit(":", 1)[1].split("/")[0])
        self._is_closing = threading.Event()
        self._camera = threading.Thread(target=self._show, daemon=True)
        self._camera.start()
        self._batches = 0
        self._most_mib = self._most_files = 0.0

    def _show(self) -> None:
        picture = from_luma(np.full((120, 160), 90, np.uint8))
        while not self._is_closing.wait(0.05):
            for mount in ("colour", "nir"):
                self._server.push(mount, picture)

    def seeds(self) -> list[bytes]:
        parameters = b"Content-Type: text/parameters\r\nContent-Length: 6"
        return [
            _request(b"OPTIONS", b"*"),
            _request(b"OPTIONS") + _request(b"GET_PARAMETER", number=2),
            _request(b"SET_PARAMETER", b"/nir", parameters, body=b"a: b\r\n"),
            _request(b"OPTIONS", b"/nowhere", LOGIN),
            _request(b"TEARDOWN", b"/colour", b"Session: 12345678"),
            DESCRIBE,
            SETUP + PLAY,
            SETUP_UDP,
            PLAY + b"$\0\0\x08" + bytes(8),
            TUNNEL + base64.b64encode(DESCRIBE),
        ]

    def feed(self, data: bytes) -> None:
        answer = self._answer(data)
        line = answer.split(b"\r\n", 1)[0].decode("latin-1")
        if not re.match(r"RTSP/\d\.\d 2\d\d ", line):
            raise InputError(line or "no answer")

    def _answer(self, data: bytes) -> bytes:
        """All that the server says until it hangs up, or has nothing more to say."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S) as wire:
            try:
                wire.sendall(data)
                wire.shutdown(socket.SHUT_WR)
                while len(answer) < 1 << 20 and (more := wire.recv(1 << 16)):
                    answer += more
            except TimeoutError:
                raise AssertionError(f"no answer, and no end, within {ANSWER_S} s") from None
            except OSError:  # the server has hung up already
                pass
        return answer

    def after_batch(self) -> None:
        self._check_service()
        deadline_s = time.monotonic() + ANSWER_S
        while self._server.clients and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert not self._server.clients, "connections stay open"
        self._batches += 1
        mib, files = _resident_mib(), float(len(list(Path("/proc/self/fd").iterdir())))
        if self._batches <= SETTLED:
            self._most_mib, self._most_files = max(self._most_mib, mib), max(self._most_files, files)
        else:
            assert mib <= self._most_mib + GROWTH_MIB, f"memory grew from {self._most_mib:.0f} to {mib:.0f} MiB"
            assert files <= self._most_files + 20, f"descriptors grew from {self._most_files:.0f} to {files:.0f}"

    def _check_service(self) -> None:
        """A viewer that comes at the instant when the last one leaves may have to try again."""
        wanted = b"401 Unauthorized" if self.with_login else b"200 OK"
        statuses = []
        for _ in range(3):
            statuses.append(self._answer(DESCRIBE).split(b"\r\n", 1)[0])
            if wanted in statuses[-1]:
                return
            time.sleep(0.5)
        raise AssertionError(f"a well-behaved client is not served: {statuses}")

    def close(self) -> None:
        self._is_closing.set()
        self._camera.join()
        self._server.stop()


class RtspWithLogin(Rtsp):
    """The same where every viewer needs a login."""

    with_login = True


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)
