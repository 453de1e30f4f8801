"""Sidecars of cubins: whatever stands in one, the answer is one line, and no byte of the cubin is handed out."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.engines.cubins import SOURCES, CubinError, CubinSidecar, cubin_path, read_cubin
from edge.engines.store import sidecar_path
from tests.edge.engines.test_engines import JSON_VALUES

SOURCE = next(iter(SOURCES))
ORIN = "8.7"
CODE = b"machine code" * 100
in_one_folder = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write_cubin(folder: Path) -> Path:
    """A cubin as a unit with an Orin keeps it; what is in it nobody but the driver knows."""
    cubin = cubin_path(folder, SOURCE, ORIN)
    sidecar = CubinSidecar(
        source=SOURCE.name,
        source_sha256=sha256(SOURCE.read_bytes()).hexdigest(),
        cubin_sha256=sha256(CODE).hexdigest(),
        cubin_bytes=len(CODE),
        compute_capability=ORIN,
        nvrtc="12.6",
    )
    cubin.write_bytes(CODE)
    sidecar_path(cubin).write_text(sidecar.model_dump_json(by_alias=True))
    return cubin


def assert_refused(folder: Path) -> None:
    with pytest.raises(CubinError) as told:
        read_cubin(folder, SOURCE, ORIN)
    assert "\n" not in str(told.value)


def test_what_was_compiled_here_is_read(tmp_path: Path) -> None:
    write_cubin(tmp_path)
    assert read_cubin(tmp_path, SOURCE, ORIN) == CODE


@given(content=st.binary(max_size=200))
@in_one_folder
def test_bytes(content: bytes, tmp_path: Path) -> None:
    sidecar_path(write_cubin(tmp_path)).write_bytes(content)
    assert_refused(tmp_path)


@given(depth=st.integers(1, 5000))
@settings(in_one_folder, max_examples=10)
def test_depth(depth: int, tmp_path: Path) -> None:
    for content in (b"[" * depth, b'{"source":' * depth):
        sidecar_path(write_cubin(tmp_path)).write_bytes(content)
        assert_refused(tmp_path)


@given(data=st.data())
@in_one_folder
def test_values(data: st.DataObject, tmp_path: Path) -> None:
    """One key of a good sidecar holds something else: it is refused, or the cubin is still the one it speaks of."""
    sidecar = sidecar_path(write_cubin(tmp_path))
    good = json.loads(sidecar.read_text())
    changed = {data.draw(st.sampled_from(sorted(good))): data.draw(JSON_VALUES)}
    sidecar.write_text(json.dumps(good | changed))
    try:
        assert read_cubin(tmp_path, SOURCE, ORIN) == CODE
    except CubinError as error:
        assert "\n" not in str(error)


@given(position=st.integers(0, len(CODE) - 1), bit=st.integers(0, 7))
@in_one_folder
def test_a_flipped_bit_of_the_cubin_is_found(position: int, bit: int, tmp_path: Path) -> None:
    cubin = write_cubin(tmp_path)
    altered = bytearray(CODE)
    altered[position] ^= 1 << bit
    cubin.write_bytes(altered)
    assert_refused(tmp_path)
