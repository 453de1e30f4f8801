"""Hypothesis: what is well-formed and yet strange. Spoilt bytes are the other half: test_fuzz.py."""

from __future__ import annotations

import json
import socket
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge.commands.parse import COMMANDS, Command, command_id, parse_command
from edge.config import Config, parse_config
from edge.errors import ConfigError, RefusedError
from edge.media import IMAGE_SUFFIXES, read_still
from edge.types import UInt8Array
from tests.fuzz.target import check_line
from tests.fuzz.targets.rtsp import Rtsp

thorough = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXTS = st.text(max_size=40) | st.sampled_from(
    ["", "a\0b", "\u202e", "x" * 3000, "rtsp://a/", "{}", "%s", "..", "🦊"]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**4000, -(10**4000), 2**63, 65535, 65536])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
SECTIONS = {section: sorted(keys) for section, keys in Config().model_dump().items()}
KEYS = [(section, key) for section, keys in SECTIONS.items() for key in (*keys, "other\nkey")]


@thorough
@given(changes=st.lists(st.tuples(st.sampled_from(KEYS), VALUES), min_size=1, max_size=4))
def test_any_value_of_any_key_of_the_configuration(changes: list[tuple[tuple[str, str], Any]]) -> None:
    document: dict[str, dict[str, Any]] = {}
    for (section, key), value in changes:
        document.setdefault(section, {})[key] = value
    try:
        config = parse_config(document, origin="edge.toml")
    except ConfigError as error:
        check_line(str(error))
    else:
        assert parse_config(config.model_dump(), origin="edge.toml") == config
        json.dumps(config.model_dump(), allow_nan=False)


@thorough
@given(document=VALUES)
def test_any_document_as_configuration(document: Any) -> None:
    if isinstance(document, dict) and document:
        with pytest.raises(ConfigError) as told:
            parse_config(document, origin="edge.toml")
        check_line(str(told.value))


IDS = st.text("-_" + string.ascii_letters + string.digits, min_size=1, max_size=64)
COMMAND_KEYS = st.sampled_from(["id", "max_kib", "key", "value", "bundle", "time_utc", "more"])


@thorough
@given(name=st.sampled_from(sorted(COMMANDS)), identity=IDS, more=st.dictionaries(COMMAND_KEYS, VALUES, max_size=4))
def test_any_value_of_any_key_of_a_command(name: str, identity: str, more: dict[str, Any]) -> None:
    command = parsed(f"tapetum/unit/cmd/{name}", {"id": identity, **more})
    if command is None:
        assert name in ("set", "bundle-activate") or more, "what is needed was there"
    else:
        assert type(command) is COMMANDS[name] and command.name == name


@thorough
@given(topic=TEXTS, document=VALUES)
def test_any_document_on_any_topic_is_no_command(topic: str, document: Any) -> None:
    assert parsed(topic, document) is None
    parsed("tapetum/unit/cmd/self-test", document)


def parsed(topic: str, document: Any) -> Command | None:
    try:
        payload = json.dumps(document).encode()
    except ValueError:  # a number of thousands of digits
        payload = b"9" * 4001
    command_id(payload)
    try:
        return parse_command(topic, payload)
    except RefusedError as error:
        check_line(str(error))
        return None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rtsp]:
    running = Rtsp(tmp_path_factory.mktemp("rtsp"))
    yield running
    running.after_batch()
    running.close()


METHODS = st.sampled_from(
    [
        *("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER"),
        *("ANNOUNCE", "RECORD", "GET", "POST", "other"),
    ]
)
HEADERS = st.sampled_from(
    [
        *("CSeq", "Session", "Transport", "Range", "Accept", "Content-Length", "Authorization", "Require"),
        *("Scale", "X"),
    ]
)
PATHS = st.sampled_from(["/colour", "/nir", "/colour/stream=0", "/", "*", "/../nir", "/%00", "/nowhere"]) | st.text(
    string.printable, max_size=30
)
HEADER_VALUES = st.text(string.printable, max_size=60) | st.sampled_from(
    [
        *("RTP/AVP/TCP;unicast;interleaved=0-1", "RTP/AVP;unicast;client_port=1-2", "npt=0-"),
        *("-1", "99999999999", "x" * 9000),
    ]
)


@settings(thorough, max_examples=60)
@given(
    requests=st.lists(
        st.tuples(METHODS, PATHS, st.lists(st.tuples(HEADERS, HEADER_VALUES), max_size=4)), min_size=1, max_size=4
    )
)
def test_any_requests_leave_a_server_that_serves(
    server: Rtsp, requests: list[tuple[str, str, list[tuple[str, str]]]]
) -> None:
    lines = []
    for number, (method, path, headers) in enumerate(requests, 1):
        lines += [f"{method} rtsp://127.0.0.1{path} RTSP/1.0", f"CSeq: {number}"]
        lines += [*(f"{name}: {value}" for name, value in headers), "", ""]
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as wire:
        wire.sendall("\r\n".join(lines).encode())


LOSSLESS = sorted({".bmp", ".pgm", ".png", ".tif", ".tiff"} & IMAGE_SUFFIXES)
PICTURES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@settings(thorough, max_examples=100)
@given(picture=PICTURES, suffix=st.sampled_from(LOSSLESS))
def test_any_picture_is_read_as_it_was_written(picture: UInt8Array, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(cv2.imencode(suffix, picture)[1].tobytes())
    assert np.array_equal(read_still(path), picture)
