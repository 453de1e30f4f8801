"""The schemas and examples of docs/mqtt.md, as a receiver would take them from there."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

DOCUMENT = Path(__file__).parents[3] / "docs" / "mqtt.md"


def _blocks() -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)]


def _about(subject: str) -> list[dict[str, Any]]:
    """The schemas whose $id begins so."""
    return [block for block in _blocks() if block.get("$id", "").startswith(f"urn:tapetum:{subject}")]


(COMMANDS,) = _about("commands:")
SCHEMAS = {block["properties"]["schema"]["const"]: block for block in _about("") if "properties" in block}
EXAMPLES = [block for block in _blocks() if "$schema" not in block]


def validate(payload: dict[str, Any]) -> None:
    """Check a message against the schema that it names.

    Stricter than a receiver must be: a field that the document does not know is an error, too.
    """
    schema = _closed(SCHEMAS[payload["schema"]])
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(payload)


def validate_command(name: str, payload: Any) -> None:
    """Check what is sent to a unit as the command `name`."""
    schema = _closed({**COMMANDS, "$ref": f"#/$defs/{name}"})
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(payload)


def _closed(schema: Any) -> Any:
    closed = copy.copy(schema)
    if isinstance(closed, dict):
        closed = {key: _closed(value) for key, value in closed.items()}
        if "properties" in closed:
            closed.setdefault("additionalProperties", False)
    return closed
