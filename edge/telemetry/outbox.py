"""Messages on their way to the broker: kept until it has acknowledged them, in order, in bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    payload: bytes
    retain: bool = False
    is_state: bool = False  # only the newest of its topic is worth sending: it replaces one that waits


class Outbox:
    """First in, first out; when `limit` messages wait, the oldest makes room for the newest.

    Any thread may `put`; the rest belongs to the one thread that talks to the broker.
    """

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._waiting: deque[Message] = deque()
        self._in_flight: dict[int, Message] = {}  # in the order of sending
        self.dropped = 0

    def put(self, message: Message) -> None:
        """Queue a message behind all others. Never blocks."""
        with self._lock:
            if message.is_state:
                self._waiting = deque(m for m in self._waiting if m.topic != message.topic)
            self._waiting.append(message)
            self._trim()

    def take(self) -> Message | None:
        """The next message to send; None when none waits."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def sent(self, key: int, message: Message) -> None:
        """Remember that `message` went out and is acknowledged under `key`, the packet identifier."""
        with self._lock:
            self._in_flight[key] = message

    def acknowledge(self, key: int) -> Message | None:
        """The broker has answered for this message: forget it. None when it is not one of ours."""
        with self._lock:
            return self._in_flight.pop(key, None)

    def rewind(self) -> None:
        """The connection is gone: what went out without an answer waits again, before all others."""
        with self._lock:
            self._waiting.extendleft(reversed(self._in_flight.values()))
            self._in_flight.clear()
            self._trim()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def __len__(self) -> int:
        """Number of messages that the broker has not acknowledged."""
        with self._lock:
            return len(self._waiting) + len(self._in_flight)

    def _trim(self) -> None:
        while len(self._waiting) > self._limit:
            self._waiting.popleft()
            self.dropped += 1
