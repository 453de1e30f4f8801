"""Sidecars of engines, and which engine a machine may load. No TensorRT is needed to refuse one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.bundles.manifest import TensorSpec
from edge.engines.store import (
    EngineError,
    Flags,
    Sidecar,
    Target,
    Wanted,
    check_engine,
    engine_key,
    engine_name,
    find_engine,
    read_engine,
    read_sidecar,
    sidecar_path,
)
from edge.errors import BundleError

ORIN = Target("10.3.0", "Orin", "8.7")
ONNX = "1" * 64
WANTED = Wanted("colorizer", "int8", ONNX, ORIN, Flags())
PLAN = b"what TensorRT serialised" * 100
NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def write_engine(folder: Path, plan: bytes = PLAN, **changes: Any) -> Path:
    """An engine that was built on an Orin, as `tapetum-build` leaves it."""
    sidecar = Sidecar(
        model="colorizer",
        precision="int8",
        onnx_sha256=ONNX,
        engine_sha256=sha256(plan).hexdigest(),
        engine_bytes=len(plan),
        tensorrt=ORIN.tensorrt,
        cuda="12.6",
        l4t="36.4.3",
        gpu=ORIN.gpu,
        compute_capability=ORIN.compute_capability,
        inputs={"luma": TensorSpec(dtype="float32", shape=(1, 1, 256, 256))},
        outputs={"ab": TensorSpec(dtype="float32", shape=(1, 2, 128, 128))},
        flags=Flags(),
        calibration_sha256="2" * 64,
        created_at=NOON,
        dry_run=False,
    ).model_copy(update=changes)
    key = engine_key(sidecar.onnx_sha256, sidecar.target, sidecar.flags)
    engine = folder / engine_name(sidecar.model, sidecar.precision, key, sidecar.engine_sha256)
    engine.write_bytes(plan)
    sidecar_path(engine).write_text(sidecar.model_dump_json(by_alias=True))
    return engine


def edit(engine: Path, **changes: Any) -> None:
    """Change keys of the sidecar's JSON."""
    path = sidecar_path(engine)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_was_built_here_is_loaded(tmp_path: Path) -> None:
    engine = write_engine(tmp_path)
    assert find_engine(tmp_path, WANTED) == engine
    assert read_engine(engine, ORIN) == PLAN
    sidecar = read_sidecar(engine)
    assert (sidecar.target, sidecar.flags, sidecar.l4t) == (ORIN, Flags(), "36.4.3")


class TestKey:
    def test_it_repeats(self) -> None:
        assert engine_key(ONNX, ORIN, Flags()) == engine_key(ONNX, replace(ORIN), Flags())
        assert (
            engine_name("context", "fp16", "0123456789abcdef", "f" * 64)
            == "context.fp16.0123456789ab-ffffffff.engine"
        )

    def test_all_that_a_rebuild_depends_on_changes_it(self) -> None:
        keys = {
            engine_key(ONNX, ORIN, Flags()),
            engine_key("2" * 64, ORIN, Flags()),
            engine_key(ONNX, replace(ORIN, tensorrt="10.16.2"), Flags()),
            engine_key(ONNX, replace(ORIN, gpu="NVIDIA Thor"), Flags()),
            engine_key(ONNX, replace(ORIN, compute_capability="11.0"), Flags()),
            engine_key(ONNX, Target(ORIN.tensorrt, None, None), Flags()),
            engine_key(ONNX, ORIN, Flags(workspace_mib=512)),
            engine_key(ONNX, ORIN, Flags(level=5)),
            engine_key(ONNX, ORIN, Flags(converter="torch2trt")),
        }
        assert len(keys) == 9


class TestForeign:
    """Each engine is whole; the reason why it stays unused is told in words."""

    @pytest.mark.parametrize(
        ("here", "reason"),
        [
            (replace(ORIN, tensorrt="10.16.2"), "built by TensorRT 10.3.0, here is 10.16.2"),
            (replace(ORIN, gpu="NVIDIA H200"), r"built on Orin \(8.7\), here is NVIDIA H200 \(8.7\)"),
            (replace(ORIN, compute_capability="11.0"), r"built on Orin \(8.7\), here is Orin \(11.0\)"),
            (Target("10.3.0", None, None), r"built on Orin \(8.7\), here is no GPU"),
        ],
    )
    def test_another_machine(self, here: Target, reason: str, tmp_path: Path) -> None:
        engine = write_engine(tmp_path)
        for look in (lambda: read_engine(engine, here), lambda: find_engine(tmp_path, replace(WANTED, target=here))):
            with pytest.raises(EngineError, match=f"{reason}: run tapetum-build ensure"):
                look()

    @pytest.mark.parametrize(
        ("wanted", "reason"),
        [
            (replace(WANTED, onnx_sha256="3" * 64), "built from another ONNX file"),
            (replace(WANTED, flags=Flags(level=5)), r"other flags \(workspace 1024 MiB, level 3, converter onnx\)"),
            (replace(WANTED, model="context"), "an engine of colorizer int8"),
            (replace(WANTED, precision="fp16"), "an engine of colorizer int8"),
        ],
    )
    def test_another_purpose(self, wanted: Wanted, reason: str, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match=reason):
            check_engine(write_engine(tmp_path), wanted)

    def test_flags_matter_only_to_who_asks_for_them(self, tmp_path: Path) -> None:
        engine = write_engine(tmp_path, flags=Flags(level=5))
        assert find_engine(tmp_path, replace(WANTED, flags=None)) == engine

    def test_a_dry_run_is_never_loaded(self, tmp_path: Path) -> None:
        nowhere = Target("10.3.0", None, None)
        engine = write_engine(tmp_path, gpu=None, compute_capability=None, dry_run=True)
        for here in (ORIN, nowhere):
            with pytest.raises(EngineError, match="a dry run, built without a GPU"):
                read_engine(engine, here)
        with pytest.raises(EngineError, match="a dry run"):
            find_engine(tmp_path, WANTED)
        assert find_engine(tmp_path, replace(WANTED, target=nowhere)) == engine, "another dry run need not repeat it"


class TestDamaged:
    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda path: path.write_bytes(PLAN[:-1]), "2399 bytes instead of 2400: truncated or altered"),
            (lambda path: path.write_bytes(b""), "0 bytes instead of 2400"),
            (lambda path: path.write_bytes(PLAN[:-1] + b"!"), "sha256 differs"),
            (lambda path: path.unlink(), r"cannot be read \(No such file"),
            (lambda path: sidecar_path(path).unlink(), "its build did not end"),
            (lambda path: sidecar_path(path).write_bytes(b""), "sidecar is damaged"),
            (lambda path: sidecar_path(path).write_bytes(b" " * (2 << 20)), r"damaged \(too long\)"),
            (lambda path: edit(path, schema=2), r"not of this version \(schema"),
            (lambda path: edit(path, remark="mine"), r"damaged .*\(remark"),
            (lambda path: edit(path, gpu=None), "belong to every engine but a dry run"),
            (lambda path: edit(path, engine_bytes=True), "engine_bytes"),
        ],
    )
    def test_no_byte_of_it_is_handed_out(self, spoil: Callable[[Path], object], reason: str, tmp_path: Path) -> None:
        engine = write_engine(tmp_path)
        spoil(engine)
        with pytest.raises(EngineError, match=reason) as told:
            read_engine(engine, ORIN)
        assert "\n" not in str(told.value)

    def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        engine = write_engine(tmp_path)
        sidecar_path(engine).unlink()
        sidecar_path(engine).mkdir()
        with pytest.raises(EngineError, match="sidecar cannot be read"):
            read_sidecar(engine)


class TestFind:
    def test_the_newest_that_fits(self, tmp_path: Path) -> None:
        newest = write_engine(tmp_path, flags=Flags(level=4), created_at=NOON + timedelta(hours=1))
        write_engine(tmp_path)
        assert find_engine(tmp_path, replace(WANTED, flags=None)) == newest

    def test_a_damaged_one_beside_it_is_passed_over(self, tmp_path: Path) -> None:
        engine = write_engine(tmp_path)
        write_engine(tmp_path, flags=Flags(level=5)).write_bytes(b"")
        assert find_engine(tmp_path, replace(WANTED, flags=None)) == engine

    def test_every_reason_is_told(self, tmp_path: Path) -> None:
        write_engine(tmp_path, tensorrt="10.2.0")
        write_engine(tmp_path, onnx_sha256="3" * 64)
        (tmp_path / "colorizer.int8.engine").write_bytes(PLAN)
        with pytest.raises(BundleError) as told:
            find_engine(tmp_path, WANTED)
        line = str(told.value)
        assert line.startswith(f"{tmp_path}: no int8 engine of colorizer for this machine: colorizer.int8.")
        assert "TensorRT 10.2.0" in line
        assert "another ONNX file" in line
        assert line.count(".engine: ") == 2, "what is not named like an engine is none"

    @pytest.mark.parametrize("folder", ["empty", "nowhere"])
    def test_none(self, folder: str, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(EngineError, match="none was built"):
            find_engine(tmp_path / folder, WANTED)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


class TestFuzz:
    """Whatever stands in a sidecar, the answer is one line."""

    @given(content=st.binary(max_size=200))
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_bytes(self, content: bytes, tmp_path: Path) -> None:
        self.refused(tmp_path, content)

    @given(depth=st.integers(1, 5000))
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
    def test_depth(self, depth: int, tmp_path: Path) -> None:
        self.refused(tmp_path, b"[" * depth)
        self.refused(tmp_path, b'{"inputs":' * depth)

    @given(data=st.data())
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_values(self, data: st.DataObject, tmp_path: Path) -> None:
        """One key of a good sidecar holds something else: it is refused, or it is a value that may stand there."""
        engine = write_engine(tmp_path)
        good = json.loads(sidecar_path(engine).read_text())
        key = data.draw(st.sampled_from(sorted(good)))
        edit(engine, **{key: data.draw(JSON_VALUES)})
        try:
            sidecar = read_sidecar(engine)
        except EngineError as error:
            assert "\n" not in str(error)
        else:
            assert json.loads(sidecar.model_dump_json(by_alias=True)).keys() == good.keys()

    @given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_flipped_bit_of_the_engine_is_found(self, position: int, bit: int, tmp_path: Path) -> None:
        engine = write_engine(tmp_path)
        altered = bytearray(PLAN)
        altered[position % len(PLAN)] ^= 1 << bit
        engine.write_bytes(altered)
        with pytest.raises(EngineError, match="sha256"):
            read_engine(engine, ORIN)

    @staticmethod
    def refused(folder: Path, content: bytes) -> None:
        engine = folder / "colorizer.int8.0123456789ab.engine"
        sidecar_path(engine).write_bytes(content)
        with pytest.raises(EngineError) as told:
            read_sidecar(engine)
        assert "\n" not in str(told.value)
