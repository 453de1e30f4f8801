"""Boards that are made up, and the drivers of this one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config import Config
from edge.errors import TapetumError
from edge.tools.doctor import machine
from edge.tools.doctor.machine import GpuFacts


class TestBoard:
    def test_a_jetson_with_its_jetpack(self, jetson: Callable[..., Path]) -> None:
        found = machine.board(jetson("36", "4.3"))
        assert found.state == "ok"
        assert found.detail.endswith("Developer Kit, Jetson Linux 36.4.3 (JetPack 6.2)")

    def test_a_jetson_of_tomorrow(self, jetson: Callable[..., Path]) -> None:
        assert machine.board(jetson("39", "1.0")).state == "ok"

    @pytest.mark.parametrize("release", [("35", "6.1"), ("36", "3.0")])
    def test_a_jetson_that_is_too_old(self, jetson: Callable[..., Path], release: tuple[str, str]) -> None:
        found = machine.board(jetson(*release))
        assert found.state == "failed" and "JetPack 6.1" in found.cure

    def test_a_jetson_without_its_linux(self, jetson: Callable[..., Path]) -> None:
        root = jetson("36", "4.3")
        (root / "etc/nv_tegra_release").unlink()
        assert machine.board(root).state == "failed"

    def test_this_machine(self) -> None:
        assert machine.board(Path("/")).state == "ok"


def test_the_encoder(jetson: Callable[..., Path], tmp_path: Path) -> None:
    assert machine.encoder(tmp_path).detail == "x264 on the CPU"
    root = jetson("36", "4.3")
    assert machine.encoder(root).state == "warning"
    (root / "dev").mkdir()
    (root / "dev/v4l2-nvenc").touch()
    assert machine.encoder(root).detail == "the Jetson's own"


def test_a_clock_of_1970(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.time, "time", lambda: 1000.0)
    found = machine.time_of_day()
    assert found.state == "failed" and "1970-01-01" in found.detail


@pytest.mark.parametrize(("synchronised", "state"), [(True, "ok"), (False, "warning")])
def test_the_clock(synchronised: bool, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.clock, "is_synchronised", lambda: synchronised)
    assert machine.time_of_day().state == state


def test_gstreamer_lacks_an_element(config: Callable[..., Config]) -> None:
    assert machine.gstreamer(config()).state == "ok"
    with pytest.raises(TapetumError, match=r"nvarguscamerasrc.*JetPack"):
        machine.gstreamer(config(source={"kind": "csi"}))


GPU = {"name": "Orin", "compute_capability": "8.7", "integrated": True, "driver": "12.6", "memory_bytes": 1 << 33}


class TestTensorRt:
    def test_this_machine_is_asked_in_a_process_of_its_own(self, config: Callable[..., Config]) -> None:
        facts = GpuFacts.found()
        assert bool(facts.trouble) == (facts.gpu is None or facts.tensorrt is None)

    @pytest.fixture
    def told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        """`told(script)` lets this shell script be the process that asks."""

        def use(script: str) -> None:
            program = tmp_path / "python"
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
            monkeypatch.setattr(sys, "executable", str(program))

        return use

    def test_a_driver_that_ends_the_process(self, told: Callable[[str], None], config: Callable[..., Config]) -> None:
        told("kill -SEGV $$")
        with pytest.raises(TapetumError, match=r"SIGSEGV.*from one JetPack"):
            machine.tensorrt(config(), Path("/"))

    def test_a_driver_that_hangs(
        self, told: Callable[[str], None], config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(machine, "GPU_LIMIT_S", 0.3)
        told("exec sleep 60")
        with pytest.raises(TapetumError, match=r"no answer within 0\.3 s"):
            machine.tensorrt(config(), Path("/"))

    @pytest.mark.parametrize(
        ("gpu", "tensorrt", "trouble", "runtime", "state"),
        [
            (GPU, "10.3.0", "", "auto", "ok"),
            (GPU, None, "TensorRT is not installed", "auto", "warning"),
            (GPU, None, "TensorRT is not installed", "tensorrt", "failed"),
            (None, None, "no GPU", "auto", "ok"),
            (None, None, "no GPU", "tensorrt", "failed"),
        ],
    )
    def test_what_is_there_and_what_is_wanted(
        self,
        gpu: dict[str, object] | None,
        tensorrt: str | None,
        trouble: str,
        runtime: str,
        state: str,
        config: Callable[..., Config],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        document = {"gpu": gpu, "tensorrt": tensorrt, "trouble": trouble}
        monkeypatch.setattr(GpuFacts, "found", lambda: GpuFacts.read(document))
        found = machine.tensorrt(config(service={"runtime": runtime}), tmp_path)
        assert found.state == state, found

    def test_a_jetson_that_runs_on_its_cpu(
        self, jetson: Callable[..., Path], config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(GpuFacts, "found", lambda: GpuFacts(None, None, "no GPU that CUDA can use"))
        assert machine.tensorrt(config(), jetson("36", "4.3")).state == "warning"
