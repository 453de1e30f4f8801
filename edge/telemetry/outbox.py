"""Messages on their way to the broker: what is sent next, and what has no answer yet.

State, of which only the newest is worth sending, and answers to commands go before events: hours of these must not
hide how the unit is. Events go as the spool gives them, oldest first.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from edge.telemetry.backlog import Backlog, Entry

RATE_HZ = 1000.0  # most messages a second: a long backlog must not take the lanes' time
CATCH_UP_S = 0.05  # what was not sent in so long may be made up for
MAX_ANSWERS = 64  # that wait; who asks more often loses the oldest


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    payload: bytes
    retain: bool = False
    entry: Entry | None = None  # of the spool; None: state or answer
    is_answer: bool = False
    is_picture: bool = False  # an answer that is lost with the line: a slow one must not choke on it again and again


class Outbox:
    """`base` is the unit's topic. Any thread may `put`; the rest belongs to the one that talks to the broker."""

    def __init__(self, base: str, backlog: Backlog, rate_hz: float = RATE_HZ) -> None:
        self._base = base
        self._backlog = backlog
        self._interval_s = 1 / rate_hz
        self._next_s = 0.0  # when the next message may go, by time.monotonic()
        self._lock = threading.Lock()
        self._states: dict[str, Message] = {}  # by topic
        self._answers: deque[Message] = deque()
        self._farewell: Message | None = None
        self._in_flight: dict[int, Message] = {}  # in the order of sending

    def put(self, state: Message) -> None:
        """Queue a state, in place of one of its topic that still waits."""
        with self._lock:
            self._states[state.topic] = state

    def put_answer(self, answer: Message) -> None:
        """Queue an answer behind those that wait; beyond MAX_ANSWERS the oldest goes."""
        with self._lock:
            self._answers.append(answer)
            while len(self._answers) > MAX_ANSWERS:
                self._answers.popleft()

    def put_last(self, farewell: Message) -> None:
        """Queue what is sent when nothing else waits."""
        self._farewell = farewell

    def take(self) -> Message | None:
        """The next message to send; None when none is ready, or it is too early for one more."""
        now_s = time.monotonic()
        self._next_s = max(self._next_s, now_s - CATCH_UP_S)
        if now_s < self._next_s:
            return None
        message = self._take_state() or self._take_answer() or self._take_event() or self._take_farewell()
        if message is not None:
            self._next_s += self._interval_s
        return message

    def sent(self, key: int, message: Message) -> None:
        """Remember that `message` went out and is acknowledged under `key`, the packet identifier."""
        self._in_flight[key] = message

    def acknowledge(self, key: int) -> Message | None:
        """The broker has answered for this message: forget it. None when it is not one of ours."""
        message = self._in_flight.pop(key, None)
        if message is not None and message.entry is not None:
            self._backlog.acknowledge(message.entry)
        return message

    def rewind(self) -> None:
        """The connection is gone: what went out without an answer waits again."""
        with self._lock:
            answers = [*self._in_flight_of(is_answer=True), *self._answers]
            self._answers = deque(answer for answer in answers if not answer.is_picture)
            for state in self._in_flight_of(is_answer=False):
                self._states.setdefault(state.topic, state)
            self._in_flight.clear()
        self._backlog.rewind()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def __len__(self) -> int:
        """Number of messages that the broker has not acknowledged."""
        with self._lock:
            waiting = len(self._states) + len(self._answers) + (self._farewell is not None)
            sent = [message for message in self._in_flight.values() if message.entry is None]
            return len(self._backlog) + waiting + len(sent)

    def _in_flight_of(self, *, is_answer: bool) -> list[Message]:
        """State or answers on the line, in the order of sending; events are the backlog's."""
        sent = self._in_flight.values()
        return [message for message in sent if message.entry is None and message.is_answer == is_answer]

    def _take_state(self) -> Message | None:
        with self._lock:
            return self._states.pop(next(iter(self._states))) if self._states else None

    def _take_answer(self) -> Message | None:
        with self._lock:
            return self._answers.popleft() if self._answers else None

    def _take_event(self) -> Message | None:
        if (entry := self._backlog.take()) is None:
            return None
        payload = {**json.loads(entry.payload), "late": entry.is_late}
        return Message(f"{self._base}/events/{entry.kind}", encoded(payload), entry=entry)

    def _take_farewell(self) -> Message | None:
        if self._backlog or self._in_flight:
            return None
        farewell, self._farewell = self._farewell, None
        return farewell


def encoded(payload: Mapping[str, object]) -> bytes:
    """Compact JSON in UTF-8.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
