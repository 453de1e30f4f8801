"""Where commands arrive: admitted in the MQTT thread, carried out one after the other in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

from edge.commands.gate import Allowance, Gate
from edge.commands.parse import Command, command_id, command_name, parse_command
from edge.config import Config
from edge.errors import RefusedError, TapetumError, one_line
from edge.priority import give_way
from edge.telemetry import payloads
from edge.telemetry.line import Arrival
from edge.telemetry.mqtt import MqttClient
from edge.telemetry.payloads import Answer
from edge.types import Instant

log = logging.getLogger(__name__)

WAITING = 8  # commands that wait while one is carried out; more are refused
REFUSALS = 60  # that are answered and logged in a minute; more are passed over in silence
STOP_S = 0.5  # what a command under way may delay the stop


@dataclass(frozen=True, slots=True)
class _Waiting:
    command: Command
    until_s: float  # time.monotonic() after which its sender no longer wants it


class CommandDesk:
    """Runs from `__enter__` to `__exit__`, which waits for no command: one that is under way then may go unanswered.

    Nothing that comes from outside, and no bug in what carries it out, ends the thread that brings it, or this one.

    Args:
        carry_out: called in this desk's thread for each command that is admitted. Raises RefusedError, or another
            TapetumError when it was tried in vain.
        answer: called with what became of each, from any thread; must not wait.
    """

    def __init__(self, gate: Gate, carry_out: Callable[[Command], Answer], answer: Callable[[Answer], None]) -> None:
        self._gate, self._carry_out, self._send = gate, carry_out, answer
        self._refusals = Allowance(REFUSALS)
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._is_over = False
        self._thread = threading.Thread(target=self._work, name="commands", daemon=True)

    def take(self, arrival: Arrival) -> None:
        """Admit or refuse a message. One thread calls it; never waits, never raises."""
        if self._is_over:
            return
        try:
            self._admit(arrival)
        except RefusedError as error:
            self._refuse(arrival, str(error))
        except Exception:
            log.exception("a command was lost to a bug")

    def __enter__(self) -> CommandDesk:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._queue.put(None)
        self._thread.join(STOP_S)

    def _admit(self, arrival: Arrival) -> None:
        command = parse_command(arrival.topic, arrival.payload)
        self._gate.check(command, is_retained=arrival.is_retained)
        if self._queue.qsize() >= WAITING:
            raise RefusedError(f"{WAITING} commands wait already: ask again later")
        self._gate.admit(command)
        life_s = float("inf") if arrival.expiry_s is None else arrival.expiry_s
        self._queue.put(_Waiting(command, time.monotonic() + life_s))

    def _refuse(self, arrival: Arrival, reason: str) -> None:
        if self._refusals.is_spent:
            log.debug("a command was refused, and %d others in this minute", REFUSALS)
            return
        self._refusals.take()
        known_id = command_id(arrival.payload)
        self._answer(Answer("refused", reason, command_name(arrival.topic), known_id))

    def _work(self) -> None:
        give_way()
        while (waiting := self._queue.get()) is not None and not self._is_over:
            log.debug("command %s %s begins", waiting.command.name, waiting.command.id)
            self._gate.save()  # before it has an effect: a replay must not have it again
            answer = self._outcome(waiting)
            self._answer(replace(answer, command=waiting.command.name, id=waiting.command.id))

    def _outcome(self, waiting: _Waiting) -> Answer:
        if time.monotonic() > waiting.until_s:
            return Answer("refused", "it expired while it waited for its turn")
        try:
            return self._carry_out(waiting.command)
        except RefusedError as error:
            return Answer("refused", one_line(str(error), 400))
        except TapetumError as error:
            return Answer("failed", one_line(str(error), 400))
        except Exception as error:
            log.exception("command %s %s", waiting.command.name, waiting.command.id)
            return _bug(error)

    def _answer(self, answer: Answer) -> None:
        """All that stands in the line was chosen from a list, or matches a pattern, or is one line."""
        level = logging.WARNING if answer.result in ("refused", "failed") else logging.INFO
        log.log(level, "command %s %s: %s: %s", answer.command, answer.id, answer.result, answer.reason or "ok")
        try:
            self._send(answer)
        except Exception as error:
            log.exception("the answer to command %s %s cannot be sent", answer.command, answer.id)
            self._send(replace(_bug(error), command=answer.command, id=answer.id))


def _bug(error: Exception) -> Answer:
    return Answer("failed", f"a bug ({type(error).__name__}): see the unit's log")


def command_desk(config: Config, mqtt: MqttClient, carry_out: Callable[[Command], Answer]) -> CommandDesk:
    """A desk for what comes by `mqtt`, which answers there."""

    def answer(answer: Answer) -> None:
        mqtt.publish_answer(payloads.answer(answer, config.unit.name, Instant.now()))

    desk = CommandDesk(Gate(config.commands, Path(config.service.state_dir)), carry_out, answer)
    mqtt.listen(desk.take)
    return desk
