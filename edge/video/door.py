"""Who may stay connected to the RTSP server: a flood must neither eat memory nor take the viewers' places."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from edge.video.gi import GLib

MAX_CONNECTIONS = 96  # with and without a session; there are 64 viewers at most
PATIENCE_S = 10.0  # from connecting to a session
MAX_BODY_BYTES = 4096  # of a request: a player sends none, or a few parameters
RECEIVE_BYTES = 16_384  # of what a client sends, the kernel keeps so much until it is read
BACKLOG = 32  # connections that the kernel keeps until they are taken
_LEAVE_S = 1.0


class Door:
    """Limits the connections of a server; those with a session, which needs the login, are left alone.

    Who opens no session goes after PATIENCE_S. When too many are connected, the oldest of those goes at once: so a
    flood displaces itself, and a viewer in it has time for his login.

    `sweep` belongs to the thread that takes the server's connections, after each of them.
    """

    def __init__(self, server: Any, max_viewers: int) -> None:
        self._came_s: dict[Any, float] = {}  # client -> monotonic time; the oldest first
        self._sessions: dict[Any, set[Any]] = {}  # those that a client began
        server.set_backlog(BACKLOG)
        server.set_content_length_limit(MAX_BODY_BYTES)
        server.get_session_pool().set_max_sessions(max_viewers)
        # A thread each: one who sends without end keeps nobody else waiting.
        server.get_thread_pool().set_max_threads(-1)
        server.connect("client-connected", self._on_connected)

    def sweep(self) -> None:
        """Send away who has stayed too long, or is one too many."""
        now_s = time.monotonic()
        surplus = len(self._came_s) - MAX_CONNECTIONS
        for client, came_s in list(self._came_s.items()):
            if surplus <= 0 and now_s - came_s < PATIENCE_S:
                return  # those after it came later
            if not client.session_filter(None):
                _hang_up(client)
                surplus -= 1

    def close(self) -> None:
        """Send everybody away, and wait until they have gone: who is torn from his thread may take it down."""
        for client in list(self._came_s):
            _hang_up(client)
        end_s = time.monotonic() + _LEAVE_S
        while self._came_s and time.monotonic() < end_s:
            time.sleep(0.01)

    def _on_connected(self, _server: Any, client: Any) -> None:
        _wire(client).set_option(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        client.connect("new-session", self._on_session)
        client.connect("closed", self._on_closed)
        self._came_s[client] = time.monotonic()

    def _on_session(self, client: Any, session: Any) -> None:
        """In the client's thread. Those that it has ended by itself are let go."""
        self._sessions[client] = {session, *client.session_filter(None)}

    def _on_closed(self, client: Any) -> None:
        """In the client's thread. GStreamer would keep the place of one who vanished for a minute."""
        self._came_s.pop(client, None)
        for session in self._sessions.pop(client, ()):
            client.get_session_pool().remove(session)


def _hang_up(client: Any) -> None:
    """End the line; the rest follows in the client's thread. `client.close` would wait for a TLS handshake that never
    ends."""
    with suppress(GLib.Error):  # the other side was faster
        _wire(client).shutdown(True, True)


def _wire(client: Any) -> Any:
    """Its Gio.Socket."""
    return client.get_connection().get_read_socket()
