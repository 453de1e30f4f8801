"""The real parser and builder of TensorRT, which work without a GPU."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edge.bundles.bundle import read_manifest
from edge.engines.store import Flags, Target
from edge.errors import BundleError, InputError
from edge.inference.tensorrt import TensorRtError, tensorrt_logger
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.trt_build.odd_graphs import long_context, unknown_operators
from trt_build.engines import builder
from trt_build.engines.builder import build_engine, configure
from trt_build.engines.folder import read_timing, timing_path, write_timing
from trt_build.engines.phases import Phases

ROOT = Path(__file__).parents[2]
ORIN = Target("10.3.0", "Orin (nvgpu)", "8.7")
REFUSED_CACHE = "Failed to deserialize timing cache"  # TensorRT's words: it reads one only where there is a GPU

pytestmark = pytest.mark.usefixtures("tensorrt")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph of a context network of three nodes."""
    folder = make_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    return folder / read_manifest(folder).models["context"].precisions["fp32"].file


@pytest.fixture
def long(tmp_path: Path) -> Path:
    path = tmp_path / "long.onnx"
    path.write_bytes(long_context(100))
    return path


def test_an_engine(tiny: Path) -> None:
    built = build_engine(tiny, Flags())
    assert built.engine[:4] == b"vtrt", "what a serialized engine begins with"
    assert len(built.engine) > 10_000
    assert built.timing


def test_a_graph_that_changed_since_the_bundle_was_checked(tiny: Path) -> None:
    with pytest.raises(BundleError, match=f"{tiny}: sha256 differs from the manifest"):
        build_engine(tiny, Flags(), sha256="0" * 64)


def test_flags_reach_the_builder(tensorrt: Any) -> None:
    flags = Flags(workspace_mib=48, level=5)
    config = configure(tensorrt, tensorrt.Builder(tensorrt_logger()), flags, b"")
    assert config.get_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE) == 48 << 20
    assert config.builder_optimization_level == 5
    assert config.profiling_verbosity == tensorrt.ProfilingVerbosity.DETAILED


class TestParser:
    def test_every_error_is_told_with_its_node(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Our own check would find them first."""
        path = tmp_path / "odd.onnx"
        path.write_bytes(unknown_operators())
        monkeypatch.setattr(builder, "check_model", lambda model, name: None)
        with pytest.raises(InputError) as told:
            build_engine(path, Flags())
        line = str(told.value)
        assert line.startswith(f"{path}: TensorRT's parser refuses it: ")
        assert "node /stem/Brighten (Brighten): " in line
        assert "node /head/Summarise (Summarise): " in line
        assert "\n" not in line

    def test_our_own_check_comes_first(self, tmp_path: Path) -> None:
        path = tmp_path / "odd.onnx"
        path.write_bytes(unknown_operators())
        with pytest.raises(InputError, match="Brighten") as told:
            build_engine(path, Flags())
        assert "parser" not in str(told.value)

    @pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x09\x12\x00"])
    def test_what_is_no_graph(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "none.onnx"
        path.write_bytes(content)
        with pytest.raises(InputError, match=str(path)):
            build_engine(path, Flags())


class TestProgress:
    def test_phases_and_percents(self, long: Path) -> None:
        told: list[tuple[str, int]] = []
        build_engine(long, Flags(), lambda phase, percent: told.append((phase, percent)))
        assert told
        assert all(phase for phase, _ in told)
        percents = [percent for _, percent in told]
        assert percents == sorted(percents)
        assert 0 <= percents[0] <= percents[-1] <= 100

    def test_the_monitor_stops_the_builder(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """TensorRT asks after each step whether to go on."""
        steps: list[str] = []

        class Stopped(Phases):
            def step(self, name: str, index: int) -> bool:
                steps.append(name)
                self.stop()
                return super().step(name, index)

        monkeypatch.setattr(builder, "Phases", Stopped)
        with pytest.raises(TensorRtError, match=f"{tiny}: TensorRT cannot build it"):
            build_engine(tiny, Flags())
        assert len(steps) < 5, "it gave up at once"

    def test_an_error_in_the_report_ends_the_build(self, long: Path) -> None:
        """As when nobody reads the progress any more."""

        def report(phase: str, percent: int) -> None:
            raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            build_engine(long, Flags(), report)


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from edge.engines.store import Flags
from trt_build.engines.builder import build_engine

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    build_engine(Path(sys.argv[1]), Flags(level=5), lambda phase, percent: os.kill(os.getpid(), signal.SIGINT))
except KeyboardInterrupt:
    sys.exit(130)
"""

DEAF = """
import signal, sys, threading
from trt_build.engines import stoppable
from trt_build.engines.phases import Phases

signal.signal(signal.SIGINT, signal.default_int_handler)
stoppable.GRACE_S = float(sys.argv[1])
phases = Phases()
phases.start("Compiling", None, 1)
stoppable.run_stoppable(lambda: threading.Event().wait(), phases, lambda phase, percent: print(phase, flush=True))
"""


class TestCtrlC:
    def test_in_a_build(self, long: Path, tensorrt_env: dict[str, str]) -> None:
        command = [sys.executable, "-c", INTERRUPTED, str(long)]
        done = subprocess.run(command, cwd=ROOT, env=tensorrt_env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 130, done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize(("grace_s", "signals"), [("0.1", 1), ("3600", 1000)])
    def test_when_tensorrt_does_not_answer(self, grace_s: str, signals: int) -> None:
        """The process ends all the same; who presses Ctrl-C again waits no longer."""
        command = [sys.executable, "-c", DEAF, grace_s]
        with subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True) as process:
            assert process.stdout and process.stderr
            assert process.stdout.readline() == "Compiling\n"
            while signals and process.poll() is None:
                process.send_signal(signal.SIGINT)
                signals -= 1
                time.sleep(0.05)
            try:
                assert process.wait(60) == 130
            finally:
                process.kill()
            assert process.stderr.read().strip() == "tapetum-build: stopped; nothing half-written is left"


class TestTimingCache:
    """TensorRT refuses to read a cache where there is no GPU, and says so: that shows that it was given one."""

    def test_the_next_build_is_given_it(self, tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = timing_path(tmp_path, ORIN)
        assert path.name == "timing.10.3.0-Orin-nvgpu-8.7.cache"
        assert REFUSED_CACHE not in self.build_again(tiny, path, caplog)
        assert REFUSED_CACHE in self.build_again(tiny, path, caplog)

    @pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b"", lambda b: b[:40] + b"!" + b[41:]])
    def test_a_damaged_one_is_set_aside(
        self, spoil: Any, tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = timing_path(tmp_path, ORIN)
        self.build_again(tiny, path, caplog)
        damaged = spoil(path.read_bytes())
        path.write_bytes(damaged)
        log = self.build_again(tiny, path, caplog)
        assert f"{path}: the timing cache is damaged: kept as {path.stem}.damaged, and begun anew" in log
        assert REFUSED_CACHE not in log, "TensorRT never saw it"
        assert path.with_suffix(".damaged").read_bytes() == damaged
        assert read_timing(path)

    @staticmethod
    def build_again(graph: Path, path: Path, caplog: pytest.LogCaptureFixture) -> str:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            built = build_engine(graph, Flags(), timing=read_timing(path))
        write_timing(path, built.timing)
        return caplog.text
