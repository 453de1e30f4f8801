"""Those who watch the unit's video: one who comes back whenever the stream breaks, and those who do harm.

All are bounded: in number here, in time by the `with` block that holds them.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.mosquitto import HOST

STALLED, VANISHED, FLOOD, GARBAGE = 5, 5, 500, 200


class Audience:
    """ffmpeg, which watches all the time and comes back when the stream breaks; `frame_s` is when it last saw one."""

    def __init__(self, url: str) -> None:
        self.frames = 0
        self.frame_s = 0.0  # time.monotonic()
        self._command = [*_ffmpeg("tcp", url), "-vf", "scale=1:1", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Audience:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._process.kill()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, bufsize=0)
            with self._process as process:
                assert process.stdout is not None
                while process.stdout.read(1):
                    self.frames += 1
                    self.frame_s = time.monotonic()
            self._stopping.wait(0.2)


@contextmanager
def stalling(port: int, mount: str = "colour") -> Iterator[None]:
    """Viewers who ask for the video, over the RTSP connection itself, and then never read."""
    with ExitStack() as lines:
        for _ in range(STALLED):
            _play(lines.enter_context(socket.create_connection((HOST, port), 5)), mount)
        yield


@contextmanager
def vanishing(port: int) -> Iterator[None]:
    """Viewers over UDP who are gone without a word."""
    command = [*_ffmpeg("udp", f"rtsp://{HOST}:{port}/colour"), "-f", "null", "-"]
    viewers = [subprocess.Popen(command) for _ in range(VANISHED)]
    time.sleep(1.5)  # they watch by now
    for viewer in viewers:
        viewer.kill()
        viewer.wait()
    yield


@contextmanager
def flooding(port: int) -> Iterator[None]:
    """Many connections at once that say nothing, half a request, or one whole."""
    words = (b"", b"DESCRIBE rtsp://x/colour RT", _request("OPTIONS", "colour", 1))
    with ExitStack() as lines:
        flood = [lines.enter_context(socket.socket()) for _ in range(FLOOD)]
        for line in flood:
            line.setblocking(False)
            line.connect_ex((HOST, port))
        time.sleep(1)  # some are let in
        for number, line in enumerate(flood):
            with contextlib.suppress(OSError):  # not let in, or sent away
                line.send(words[number % len(words)])
        yield


@contextmanager
def babbling(port: int, seed: int) -> Iterator[None]:
    """Connections that send what is no RTSP, one after the other."""
    source = random.Random(seed)
    for number in range(GARBAGE):
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 2) as line:
            line.settimeout(0.05)
            line.sendall(_garbage(source, number))
            line.recv(4096)
    yield


def _garbage(source: random.Random, number: int) -> bytes:
    """Five kinds of it."""
    whole = _request(source.choice(["DESCRIBE", "SETUP", "PLAY", "TEARDOWN", "ANNOUNCE", "RECORD"]), "colour", number)
    match number % 5:
        case 0:
            return source.randbytes(source.randrange(1, 4096))
        case 1:
            return b"$" + source.randbytes(source.randrange(1, 2000))  # as interleaved data of no session
        case 2:
            return whole[: source.randrange(1, len(whole))]
        case 3:
            return whole.replace(b"\r\n", b"\r\nX-Long: " + b"x" * source.randrange(1, 1 << 16) + b"\r\n", 1)
        case _:
            spoilt = bytearray(whole)
            for _ in range(5):
                spoilt[source.randrange(len(spoilt))] = source.randrange(256)
            return bytes(spoilt)


def _play(line: socket.socket, mount: str) -> None:
    """Up to the answer to PLAY, as far as the server goes along."""
    with contextlib.suppress(OSError):
        _ask(line, _request("DESCRIBE", mount, 1))
        answer = _ask(
            line, _request("SETUP", f"{mount}/stream=0", 2, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        )
        if session := re.search(r"Session: *(\w+)", answer):
            _ask(line, _request("PLAY", mount, 3, f"Session: {session[1]}"))


def _ask(line: socket.socket, request: bytes) -> str:
    line.sendall(request)
    return line.recv(8192).decode(errors="replace")


def _request(method: str, path: str, number: int, header: str = "") -> bytes:
    lines = [f"{method} rtsp://{HOST}/{path} RTSP/1.0", f"CSeq: {number}", *([header] if header else [])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _ffmpeg(transport: str, url: str) -> list[str]:
    """It shows what comes at once, and gives up when nothing comes for three seconds."""
    quickly = ["-fflags", "nobuffer", "-analyzeduration", "200000", "-timeout", "3000000"]
    return ["ffmpeg", "-v", "quiet", "-nostdin", "-rtsp_transport", transport, *quickly, "-i", url]
