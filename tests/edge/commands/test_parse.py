"""From bytes to commands: what docs/mqtt.md promises is taken, and nothing else; no reason repeats what was sent."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.commands.parse import (
    COMMANDS,
    MAX_BYTES,
    ActivateBundle,
    Command,
    SetValue,
    Snapshot,
    command_id,
    command_name,
    parse_command,
)
from edge.errors import RefusedError
from tests.edge.telemetry import schemas

ROWS = re.findall(r"^\| `([a-z-]+)` \| `(\{.*?\})` \|", schemas.DOCUMENT.read_text(), re.M)


def topic(name: str) -> str:
    return f"tapetum/unit-1/cmd/{name}"


def sent(name: str, document: Any) -> Command:
    return parse_command(topic(name), json.dumps(document).encode())


def refusal(name: str, payload: bytes) -> str:
    with pytest.raises(RefusedError) as told:
        parse_command(topic(name), payload)
    return str(told.value)


def test_the_document_lists_every_command_with_its_schema() -> None:
    assert [name for name, _ in ROWS] == list(COMMANDS)
    assert set(COMMANDS) <= set(schemas.COMMANDS["$defs"])


@pytest.mark.parametrize(("name", "example"), ROWS)
def test_the_examples_of_the_document_are_taken(name: str, example: str) -> None:
    schemas.validate_command(name, json.loads(example))
    command = parse_command(topic(name), example.encode())
    assert (type(command), command.name, command.id) == (COMMANDS[name], name, json.loads(example)["id"])


def test_what_a_command_says() -> None:
    assert sent("snapshot", {"id": "a", "max_kib": 100}) == Snapshot(id="a", max_kib=100)
    assert sent("set", {"id": "b", "key": "overlay", "value": False}) == SetValue(id="b", key="overlay", value=False)
    assert sent("bundle-activate", {"id": "c", "bundle": "site-1.0"}) == ActivateBundle(id="c", bundle="site-1.0")


@pytest.mark.parametrize("text", ["2024-05-01T22:04:05Z", "2024-05-01T22:04:05.000Z"])
def test_the_time(text: str) -> None:
    command = sent("self-test", {"id": "a", "time_utc": text})
    assert command.time_utc == datetime(2024, 5, 1, 22, 4, 5, tzinfo=timezone.utc)


# Both the document's schema and the unit refuse them. Where the key is known, the reason names it.
WRONG = [
    ("snapshot", {}, "id: Field required"),
    ("snapshot", {"id": 7}, "id: "),
    ("snapshot", {"id": ""}, "id: "),
    ("snapshot", {"id": "a" * 65}, "id: "),
    ("snapshot", {"id": "a/b"}, "id: "),
    ("snapshot", {"id": "+"}, "id: "),
    ("snapshot", {"id": "a", "max_kib": 7}, "max_kib: .* 8"),
    ("snapshot", {"id": "a", "max_kib": 1025}, "max_kib: .* 1024"),
    ("snapshot", {"id": "a", "max_kib": 100.5}, "max_kib: "),
    ("snapshot", {"id": "a", "max_kib": "100"}, "max_kib: "),
    ("snapshot", {"id": "a", "max_kib": True}, "max_kib: "),
    ("self-test", {"id": "a", "time_utc": "yesterday"}, "time_utc: write it as 2024-"),
    ("self-test", {"id": "a", "time_utc": "2024-05-01T22:04:05+02:00"}, "time_utc: write it as"),
    ("self-test", {"id": "a", "time_utc": 1714601045}, "time_utc: write it as"),
    ("self-test", {"id": "a", "verbose": True}, "unknown key: known are id, time_utc"),
    ("set", {"id": "a", "key": "overlay"}, "value: Field required"),
    ("set", {"id": "a", "value": True}, "key: Field required"),
    ("bundle-activate", {"id": "a"}, "bundle: "),
    ("bundle-activate", {"id": "a", "bundle": "../../etc"}, "bundle: "),
    ("bundle-activate", {"id": "a", "bundle": "/abs"}, "bundle: "),
    ("bundle-rollback", {"id": "a", "bundle": "b"}, "unknown key"),
]


@pytest.mark.parametrize(("name", "document", "reason"), WRONG)
def test_what_is_wrong_is_refused_by_schema_and_unit_alike(name: str, document: dict[str, Any], reason: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        schemas.validate_command(name, document)
    assert re.match(reason, refusal(name, json.dumps(document).encode()))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON"),
        (b"on", "not JSON"),
        (b"\xff\xfe", "not JSON in UTF-8"),
        (b'{"id": "a", "id": "b"}', "a key twice"),
        (b'{"id": "a", "max_kib": NaN}', "a number that is none"),
        (b'{"id": "a", "max_kib": -Infinity}', "a number that is none"),
        (b'{"id": "a", "max_kib": 1' + 4000 * b"0" + b"}", "max_kib: "),
        (b'{"id": "a", "max_kib": 1e999}', "max_kib: "),
        (b"[" * MAX_BYTES, "not JSON"),
        (b'"a"', "not a JSON object"),
        (b'[{"id": "a"}]', "not a JSON object"),
        (b'{"id": "a"}' + b" " * MAX_BYTES, f"too long: {MAX_BYTES + 11} bytes, at most {MAX_BYTES}"),
        (b'{"id": "\\ud800"}', "id: "),
        (b'{"id": "a\\n"}', "id: "),
        (b'{"id": "a", "time_utc": "2024-05-01T22:04:05Z\\n"}', "time_utc: write it as"),
        (b"\x00", "not JSON"),
    ],
)
def test_what_is_no_document_is_refused(payload: bytes, reason: str) -> None:
    assert reason in refusal("snapshot", payload)


@pytest.mark.parametrize("name", ["", "reboot", "set/x", "SET", "se\nt", "cmd/../set", "sét", "+"])
def test_an_unknown_name_is_refused_and_not_repeated(name: str) -> None:
    assert refusal(name, b'{"id": "a"}') == f"unknown command: known are {', '.join(COMMANDS)}"
    assert command_name(topic(name)) is None


def test_a_key_that_is_no_text_is_refused() -> None:
    """Half of a surrogate pair: JSON has an escape for it, Unicode text has not."""
    assert refusal("self-test", b'{"id": "1", "\\ud800": 1}') == "unknown key: known are id, time_utc"


def test_who_is_refused_is_told_with_the_id_where_there_is_one() -> None:
    assert command_id(b'{"id": "a", "nonsense": 1}') == "a"
    for payload in (b"", b"[]", b'{"id": 7}', b'{"id": "a\\n"}', b'{"id": "a b"}', b'{"id": "a"}' + b" " * MAX_BYTES):
        assert command_id(payload) is None


NASTY = "\x1b[31m\nforged line \u202e\x00"


@pytest.mark.parametrize("name", list(COMMANDS))
@pytest.mark.parametrize("key", ["id", "time_utc", "key", "value", "bundle", "max_kib", NASTY])
def test_no_reason_repeats_what_was_sent(name: str, key: str) -> None:
    payload = json.dumps({"id": "a", "key": "overlay", "value": 1, key: NASTY}).encode()
    reason = refusal(name, payload)
    assert reason.isprintable() and "forged" not in reason and len(reason) <= 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["id", "time_utc", "max_kib", "key", "value", "bundle"]) | st.text(max_size=4)
DOCUMENTS = st.dictionaries(KEYS, JSON | st.just("a1") | st.just(64), max_size=4).map(
    lambda it: json.dumps(it).encode()
)


@given(st.sampled_from(list(COMMANDS)) | st.text(max_size=10), DOCUMENTS | st.binary(max_size=200))
def test_nothing_but_a_command_or_a_refusal_comes_of_anything(name: str, payload: bytes) -> None:
    try:
        command = parse_command(topic(name), payload)
    except RefusedError as error:
        assert str(error).isprintable()
        assert command_id(payload) is None or re.fullmatch("[A-Za-z0-9_-]{1,64}", str(command_id(payload)))
    else:
        assert type(command) is COMMANDS[name]
        if isinstance(command, SetValue):
            assert isinstance(command.key, str)  # judged by edge.settings
        else:
            schemas.validate_command(name, json.loads(payload))
