"""From a message to a command. What comes from outside is judged here, and nowhere else."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field, ValidationError

from edge.errors import RefusedError, one_line
from edge.sections import Section

MAX_BYTES = 4096
ID = r"^[A-Za-z0-9_-]{1,64}$"  # may stand in a topic, in a log line and in a file
BUNDLE = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,215}$"
TIME = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{3})?Z$"


def _time(value: object) -> datetime:
    if not isinstance(value, str) or not re.fullmatch(TIME, value, re.ASCII):
        raise ValueError("write it as 2024-05-01T22:04:05Z or 2024-05-01T22:04:05.678Z")
    return datetime.fromisoformat(value.replace("Z", "+00:00"))


class Command(Section):
    """What all commands have; each has its own class.

    Attributes:
        id: chosen by the sender, another one for each command.
        time_utc: when it was sent, where the sender says so.
    """

    id: Annotated[str, Field(pattern=ID)]
    time_utc: Annotated[AwareDatetime, BeforeValidator(_time)] | None = None

    @property
    def name(self) -> str:
        """The last level of its topic."""
        return _NAMES[type(self)]


class Snapshot(Command):
    """The newest frame as two JPEGs, of at most so many KiB each (the configuration's bound where that is less)."""

    max_kib: Annotated[int, Field(ge=8, le=1024)] = 1024


class RestartSource(Command):
    """Build the camera's pipeline anew."""


class SetValue(Command):
    """Change a run-time value; what it may be is known to `edge.settings`."""

    key: str
    value: object


class ActivateBundle(Command):
    """Switch to a bundle that is installed: its name or its identity, as `tapetum-edge bundle list` shows them."""

    bundle: Annotated[str, Field(pattern=BUNDLE)]


class RollBackBundle(Command):
    """Switch back to the bundle that ran before."""


class RebuildEngines(Command):
    """Build the engines that no longer fit."""


class SelfTest(Command):
    """Look whether all is well."""


COMMANDS: dict[str, type[Command]] = {
    "snapshot": Snapshot,
    "restart-source": RestartSource,
    "set": SetValue,
    "bundle-activate": ActivateBundle,
    "bundle-rollback": RollBackBundle,
    "engines-rebuild": RebuildEngines,
    "self-test": SelfTest,
}
_NAMES = {kind: name for name, kind in COMMANDS.items()}


def parse_command(topic: str, payload: bytes) -> Command:
    """The command of a message on `.../cmd/<name>`: JSON in UTF-8, at most MAX_BYTES.

    Raises:
        RefusedError: it is none; the reason repeats nothing that came from outside.
    """
    kind = COMMANDS.get(command_name(topic) or "")
    if kind is None:
        raise RefusedError(f"unknown command: known are {', '.join(COMMANDS)}")
    document = _document(payload)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise RefusedError(_explained(kind, error)) from error


def command_name(topic: str) -> str | None:
    """The last level of a topic, where it is the name of a command."""
    name = topic.rpartition("/cmd/")[2]
    return name if name in COMMANDS else None


def command_id(payload: bytes) -> str | None:
    """The id of a message that is refused, where one can be read: its sender waits for an answer."""
    try:
        found = _document(payload).get("id")
    except RefusedError:
        return None
    return found if isinstance(found, str) and re.fullmatch(ID, found) else None


def _document(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_BYTES:
        raise RefusedError(f"too long: {len(payload)} bytes, at most {MAX_BYTES}")
    try:
        document = json.loads(payload.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise RefusedError("not JSON in UTF-8, or a key twice, or a number that is none") from error
    if not isinstance(document, dict):
        raise RefusedError('not a JSON object such as {"id": "1"}')
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _explained(kind: type[Command], error: ValidationError) -> str:
    """Each fault by the key that we know; a key that we do not know is not repeated."""
    faults = []
    for item in error.errors(include_url=False, include_input=False):
        key = next(iter(item["loc"]), "")  # a key that is no Unicode text has no place
        told = item["msg"].removeprefix("Value error, ")
        faults.append(f"{key}: {told}" if key in kind.model_fields else "")
    known = f"unknown key: known are {', '.join(kind.model_fields)}"
    return one_line("; ".join(dict.fromkeys(fault or known for fault in faults)), 400)
