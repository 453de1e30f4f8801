"""A bad line: a TCP proxy on loopback that drops, delays and spoils what goes through it."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time

from tests.mosquitto import HOST

CHUNK = 4096


class Proxy:
    """Hands on what comes to `port` to another port, and back. Its attributes may change at any time."""

    def __init__(self, upstream_port: int, seed: int = 0) -> None:
        self.is_cut = False  # nothing goes through, but connections stand, as over a radio link that is gone
        self.delay_s = 0.0  # of each piece, both ways
        self.bytes_per_s = float("inf")
        self.bit_errors = 0.0  # bits spoilt, per byte from upstream
        self._upstream = (HOST, upstream_port)
        self._random = random.Random(seed)
        self._lines: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = socket.create_server((HOST, 0))
        self.port = int(self._server.getsockname()[1])

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_cut = False
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for line in list(self._lines):
            self._drop(line)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(self._upstream, 5)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                with self._lock:
                    self._lines |= {near, far}
                threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, may_spoil: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(CHUNK):
                self._wait(len(piece))
                sink.sendall(self._spoilt(piece) if may_spoil and self.bit_errors else piece)
        for line in (source, sink):
            self._drop(line)

    def _wait(self, size: int) -> None:
        if pause_s := self.delay_s + size / self.bytes_per_s:
            time.sleep(pause_s)
        while self.is_cut:
            time.sleep(0.02)

    def _spoilt(self, piece: bytes) -> bytes:
        spoilt = bytearray(piece)
        for _ in range(int(self.bit_errors * len(piece) + self._random.random())):
            spoilt[self._random.randrange(len(piece))] ^= 1 << self._random.randrange(8)
        return bytes(spoilt)

    def _drop(self, line: socket.socket) -> None:
        with self._lock:
            self._lines.discard(line)
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
        line.close()
