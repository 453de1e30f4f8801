"""`build` and `ensure` with the real TensorRT: what is built, kept, replaced, and left behind by a failure."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import resource
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge.bundles.bundle import load_bundle, read_manifest
from edge.bundles.manifest import MODEL_NAMES, ModelName
from edge.engines.progress import BuildProgress
from edge.engines.store import Flags, Target, Wanted, find_engine, read_engine, read_sidecar, sidecar_path
from edge.errors import BundleError, InputError, TapetumError
from edge.inference.base import Runner
from edge.inference.onnx import OnnxRunner
from tests.edge import spoilt_bundle
from tests.edge.engines.test_engines import NOON, write_engine
from tests.edge.test_atomic import ended_process
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.trt_build.odd_graphs import long_context, unknown_operators
from trt_build.__main__ import main
from trt_build.engines import check
from trt_build.engines.builder import Built
from trt_build.engines.ensure import EngineDiffersError, Network, Workshop
from trt_build.engines.folder import KEPT_GRAPHS, STAGE, locked
from trt_build.engines.stoppable import Report

ROOT = Path(__file__).parents[2]
Env = dict[str, str]

pytestmark = pytest.mark.usefixtures("tensorrt")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def slow(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose context network takes TensorRT two seconds."""
    return spoilt_bundle.with_graph(tiny, tmp_path_factory.mktemp("slow") / "bundle", "context", long_context(200))


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    return tmp_path / "engines"


def states(output: str) -> list[tuple[str, str | None]]:
    """State and network of each JSON line, without the many of a build under way."""
    lines = [json.loads(line) for line in output.splitlines()]
    told = [(line["state"], line["model"]) for line in lines if line["state"] != "building"]
    return [state for state, _ in groupby(told)]  # some come again as a sign of life


def all_of(state: str) -> list[tuple[str, str]]:
    return [(state, name) for name in MODEL_NAMES]


def ensure(bundle: Path, engines: Path, *more: str) -> int:
    return main(["ensure", str(bundle), "--engines", str(engines), "--dry-run", "--progress", "json", *more])


def wanted_here(bundle: Path, model: ModelName, trt: Any, flags: Flags | None = None) -> Wanted:
    graph = read_manifest(bundle).models[model].precisions["fp32"]
    return Wanted(model, "fp32", graph.sha256, Target(trt.__version__, None, None), flags)


def names(engines: Path) -> set[str]:
    return {path.name for path in engines.iterdir() if path.name != ".lock"}


def contents(engines: Path) -> dict[str, bytes]:
    return {name: (engines / name).read_bytes() for name in names(engines)}


def command_of(bundle: Path, engines: Path, progress: str = "json") -> list[str]:
    """A dry run of `ensure` as a process of its own."""
    command = [sys.executable, "-m", "trt_build", "ensure", str(bundle), "--engines", str(engines), "--dry-run"]
    return [*command, "--progress", progress]


@contextmanager
def building(bundle: Path, engines: Path, env: Env) -> Iterator[subprocess.Popen[str]]:
    """`ensure` in the middle of its first build."""
    with subprocess.Popen(command_of(bundle, engines), cwd=ROOT, env=env, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [json.loads(process.stdout.readline()) for _ in range(2)]
            assert [line["state"] for line in lines] == ["building", "building"]
            yield process
        finally:
            process.kill()


def read_all(descriptor: int) -> Iterator[bytes]:
    """What a terminal shows until its last writer has gone, which Linux tells as an input error."""
    with open(descriptor, "rb", buffering=0) as terminal, suppress(OSError):
        while shown := terminal.read(4096):
            yield shown


class TestEnsure:
    def test_the_second_run_builds_nothing(
        self, tiny: Path, engines: Path, tensorrt: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert ensure(tiny, engines) == 0
        assert states(capsys.readouterr().out) == all_of("built")
        before = {path: path.stat().st_mtime_ns for path in engines.glob("*.fp32.*")}
        assert ensure(tiny, engines) == 0
        assert states(capsys.readouterr().out) == all_of("kept")
        assert {path: path.stat().st_mtime_ns for path in engines.glob("*.fp32.*")} == before
        assert len(before) == 6
        sidecar = read_sidecar(find_engine(engines, wanted_here(tiny, "recognizer", tensorrt)))
        assert sidecar.dry_run
        assert sidecar.outputs == read_manifest(tiny).models["recognizer"].outputs
        assert sidecar.calibration_sha256 is None, "fp32"

    def test_only_what_changed_is_built_again(
        self, tiny: Path, slow: Path, engines: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ensure(tiny, engines)
        older = names(engines)
        capsys.readouterr()
        assert ensure(slow, engines) == 0
        output = capsys.readouterr().out
        assert states(output) == [("built", "context"), ("kept", "colorizer"), ("kept", "recognizer")]
        assert "built from another ONNX file" in output
        assert older < names(engines), "the unit may go back to the other bundle"
        assert ensure(tiny, engines) == 0
        assert states(capsys.readouterr().out) == all_of("kept")

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda engine: engine.write_bytes(engine.read_bytes()[:-1]), "truncated"),
            (lambda engine: engine.unlink(), "none was built"),
            (lambda engine: sidecar_path(engine).unlink(), "its build did not end"),
            (lambda engine: sidecar_path(engine).write_text("{}"), "sidecar is damaged"),
        ],
    )
    def test_what_is_damaged_is_built_again(
        self,
        spoil: Callable[[Path], Any],
        reason: str,
        tiny: Path,
        engines: Path,
        tensorrt: Any,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        ensure(tiny, engines)
        engine = find_engine(engines, wanted_here(tiny, "context", tensorrt))
        spoil(engine)
        capsys.readouterr()
        assert ensure(tiny, engines) == 0
        output = capsys.readouterr().out
        assert states(output) == [("built", "context"), ("kept", "colorizer"), ("kept", "recognizer")]
        assert reason in output
        assert read_sidecar(find_engine(engines, wanted_here(tiny, "context", tensorrt))).dry_run

    def test_other_flags(self, tiny: Path, engines: Path, tensorrt: Any, capsys: pytest.CaptureFixture[str]) -> None:
        ensure(tiny, engines)
        capsys.readouterr()
        assert ensure(tiny, engines, "--level", "1", "--workspace-mib", "64") == 0
        output = capsys.readouterr().out
        assert states(output) == all_of("built")
        assert "built with other flags (workspace 1024 MiB, level 3, converter onnx)" in output
        flags = Flags(level=1, workspace_mib=64)
        assert read_sidecar(find_engine(engines, wanted_here(tiny, "context", tensorrt, flags))).flags == flags
        assert len(names(engines)) == 6

    def test_a_dry_run_replaces_no_real_engine(self, tiny: Path, engines: Path) -> None:
        engines.mkdir()
        real = write_engine(engines, model="context", precision="fp32")
        unreadable = write_engine(engines, model="context", precision="fp32", flags=Flags(level=5))
        sidecar_path(unreadable).write_text("{")
        assert ensure(tiny, engines) == 0
        assert real.exists()
        assert not unreadable.exists()

    @pytest.mark.parametrize("kind", ["folder", "file", "link"])
    def test_what_a_killed_builder_left_is_removed(
        self, kind: str, tiny: Path, engines: Path, tmp_path: Path
    ) -> None:
        ensure(tiny, engines)
        before = names(engines)
        if kind == "folder":
            (engines / STAGE).mkdir()
            (engines / STAGE / "context.fp32.0123456789ab-01234567.engine").write_bytes(b"half")
        elif kind == "file":
            (engines / STAGE).touch()
        else:
            (engines / STAGE).symlink_to(tmp_path)
        (engines / f".timing.{ended_process()}.tmp.cache").touch()
        assert ensure(tiny, engines, "--level", "1") == 0
        assert not {name for name in names(engines) if name.startswith(".")}
        assert len(names(engines)) == len(before)
        assert tmp_path.exists()

    @pytest.mark.parametrize("renamed", [1, 2])
    def test_a_rebuild_that_dies_while_files_change_places(
        self, renamed: int, tiny: Path, engines: Path, tensorrt: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of the same graph for the same machine: the last good engine serves, or the new one."""
        shop = Workshop(
            load_bundle(tiny), engines, Target(tensorrt.__version__, "Orin", "8.7"), Flags(), lambda _: None
        )
        (good,) = shop.build(["context"])
        replace_file, came = Path.replace, 0

        class Killed(BaseException):
            pass

        def killed(source: Path, target: Path) -> Path:
            nonlocal came
            done = replace_file(source, target)
            came += source.parent.name == STAGE and target.parent == engines
            if came == renamed:
                raise Killed
            return done

        def another(network: Network, flags: Flags, report: Report, timing: bytes) -> Built:
            return Built(b"another engine of the same key", timing)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Path, "replace", killed)
            replace(shop, convert=another).build(["context"])
        wanted = Wanted("context", "fp32", read_sidecar(good).onnx_sha256, shop.target, shop.flags)
        found = find_engine(engines, wanted)
        assert (found == good) == (renamed == 1)
        assert read_engine(found, shop.target)
        assert shop.ensure(["context"]) == []
        assert list(engines.glob("*.engine")) == [found]


class TestWorkshop:
    """What needs a GPU's name, and what happens when a new engine does not pass its check."""

    @pytest.fixture
    def shop(self, tiny: Path, engines: Path, tensorrt: Any) -> Workshop:
        self.told: list[BuildProgress] = []
        here = Target(tensorrt.__version__, "Orin", "8.7")
        return Workshop(load_bundle(tiny), engines, here, Flags(), self.told.append)

    def test_what_is_no_file_is_left_alone(self, tiny: Path, engines: Path, tensorrt: Any) -> None:
        folder = engines / "context.fp32.0123456789ab-01234567.engine"
        folder.mkdir(parents=True)
        assert ensure(tiny, engines) == 0
        assert ensure(tiny, engines) == 0
        assert folder.is_dir()

    def test_a_real_engine_replaces_dry_runs_and_foreign_ones(
        self, shop: Workshop, tiny: Path, engines: Path
    ) -> None:
        ensure(tiny, engines)
        foreign = write_engine(engines, model="context", precision="fp32", tensorrt="10.3.0")
        other = write_engine(engines, model="context", precision="fp16")
        built = shop.ensure()
        assert {path.name for path in engines.glob("*.engine")} == {*(path.name for path in built), other.name}
        assert not foreign.exists()
        assert all(read_engine(engine, shop.target) for engine in built)
        assert shop.ensure() == []

    def test_engines_of_bundles_that_the_unit_may_go_back_to_stay(self, shop: Workshop, engines: Path) -> None:
        """The newest of them that fit this machine; one of the same graph is replaced."""
        engines.mkdir()
        here = {"tensorrt": shop.target.tensorrt, "gpu": "Orin", "compute_capability": "8.7"}
        others = [
            write_engine(
                engines,
                bytes([number]),
                model="context",
                precision="fp32",
                onnx_sha256=f"{number}" * 64,
                created_at=NOON + timedelta(hours=number),
                **here,
            )
            for number in range(KEPT_GRAPHS + 2)
        ]
        foreign = write_engine(engines, model="context", precision="fp32", **{**here, "gpu": "Thor"})
        assert len({other.name for other in others}) == KEPT_GRAPHS + 2
        (engine,) = shop.ensure(["context"])
        assert set(engines.glob("*.engine")) == {engine, *others[2:]}
        (again,) = replace(shop, flags=Flags(level=1)).ensure(["context"])
        assert set(engines.glob("*.engine")) == {again, *others[2:]}
        assert not foreign.exists()

    def test_how_it_was_built_counts_only_for_those_who_ask(self, shop: Workshop, engines: Path) -> None:
        """The service asks for nothing: it must not undo what somebody built with care."""
        careful = set(replace(shop, flags=Flags(level=1)).build())
        assert replace(shop, any_flags=True).ensure() == []
        assert set(engines.glob("*.engine")) == careful
        assert len(shop.ensure()) == 3
        assert careful.isdisjoint(engines.glob("*.engine"))

    def test_what_was_measured_is_kept_for_the_next_build(self, shop: Workshop, engines: Path) -> None:
        shop.ensure()
        (cache,) = engines.glob("timing.*.cache")
        assert cache.name == f"timing.{shop.target.tensorrt}-Orin-8.7.cache"

    def test_the_old_one_stays_until_the_new_one_has_passed(self, shop: Workshop, engines: Path) -> None:
        old = {path.name for path in shop.ensure()}
        checked: list[Path] = []

        def judge(network: Network, engine: Path) -> None:
            assert read_engine(engine, shop.target), "whole, with its sidecar"
            assert any(name.startswith(network.name) for name in old & names(engines)), "the old one serves"
            checked.append(engine)
            if network.name == "colorizer":
                raise TapetumError("colours differ")

        newer = replace(shop, flags=Flags(level=1), check=judge)
        with pytest.raises(TapetumError, match="colours differ"):
            newer.ensure()
        assert [engine.name.split(".")[0] for engine in checked] == list(MODEL_NAMES)
        left = {path.name for path in engines.glob("*.engine")}
        assert {name for name in left if name in old} == {name for name in old if name.startswith("colorizer")}
        assert len(left) == 3
        assert [progress.detail for progress in self.told if progress.state == "failed"] == ["colours differ"]

    @pytest.mark.parametrize("factor", [1, 1.01])
    def test_engines_are_compared_with_onnx_runtime(
        self, factor: float, shop: Workshop, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """OpenVINO stands in for the GPU: with the right graph it passes, with one that gives 1 % more not."""
        monkeypatch.setattr(check, "FRAMES", 3)
        graph = tmp_path / "context.onnx"
        model = onnx.load(shop.bundle.model_path("context"))
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((1, 1000), factor, np.float32), "ones"))
        onnx.save(model, graph)

        def open_engine(network: Network, engine: Path) -> Runner:
            assert read_engine(engine, shop.target)
            path = graph if network.name == "context" else network.onnx
            return OnnxRunner(path, network.entry.inputs, network.entry.outputs)

        checked = replace(shop, check=check.comparing(shop.bundle, open_engine))
        if factor == 1:
            assert len(checked.ensure()) == 3
        else:
            with pytest.raises(EngineDiffersError, match=r"relative_p99 0\.0102\d*, limit at most 0\.0001"):
                checked.ensure()
            assert len(list(engines.glob("*.engine"))) == 2
            self.told.clear()
            with pytest.raises(EngineDiffersError, match="tapetum-build build tries again"):
                checked.ensure()
            assert "building" not in {progress.state for progress in self.told}, "the same would come out"
            shop.build(["context"])
            assert len(checked.ensure()) == 0

    def test_all_that_failed_is_told(self, shop: Workshop, engines: Path) -> None:
        def judge(network: Network, engine: Path) -> None:
            raise InputError(f"{network.name} is wrong")

        with pytest.raises(TapetumError) as told:
            replace(shop, check=judge).build(["context", "colorizer"])
        assert str(told.value) == "context is wrong; colorizer is wrong"
        assert told.value.exit_code == InputError.exit_code
        assert list(engines.glob("*.engine")) == []


class TestCommand:
    def test_build_builds_again(self, tiny: Path, engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = ["build", str(tiny), "--engines", str(engines), "--dry-run", "--model", "context"]
        for _ in range(2):
            assert main(command) == 0
            output = capsys.readouterr().out
            assert output.startswith("context fp32: built: context.fp32.")
            assert "dry run: not checked: whether TensorRT loads the engines" in output
        assert len(names(engines)) == 2

    def test_ensure_keeps_what_was_built_with_flags_unless_told_which(
        self, tiny: Path, engines: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["build", str(tiny), "--engines", str(engines), "--dry-run", "--progress", "none"]
        assert main([*command, "--level", "1", "--workspace-mib", "64"]) == 0
        assert ensure(tiny, engines) == 0
        assert states(capsys.readouterr().out) == all_of("kept")
        assert ensure(tiny, engines, "--level", "1") == 0
        output = capsys.readouterr().out
        assert states(output) == all_of("built")
        assert "built with other flags (workspace 64 MiB, level 1, converter onnx)" in output

    def test_engines_lie_in_the_bundle(self, tiny: Path, tmp_path: Path) -> None:
        bundle = make_tiny_bundle(tmp_path / "bundle")
        assert main(["build", str(bundle), "--dry-run", "--model", "context", "--progress", "none"]) == 0
        assert len(names(bundle / "engines")) == 2

    def test_quiet(self, tiny: Path, engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = ["build", str(tiny), "--engines", str(engines), "--dry-run", "--model", "context"]
        assert main([*command, "--progress", "none"]) == 0
        assert capsys.readouterr() == ("", "")

    def test_what_a_unit_runs_needs_no_torch(self, tiny: Path, engines: Path, tensorrt_env: Env) -> None:
        code = "import sys; from trt_build.__main__ import main; code = main(sys.argv[1:]); "
        code += "print([name for name in ('torch', 'training') if name in sys.modules]); sys.exit(code)"
        command = ["ensure", str(tiny), "--engines", str(engines), "--dry-run", "--progress", "none"]
        done = subprocess.run(
            [sys.executable, "-c", code, *command], cwd=ROOT, env=tensorrt_env, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr

    def test_a_bar_on_a_terminal(self, slow: Path, engines: Path, tensorrt_env: Env) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        command = command_of(slow, engines, "bar")
        with subprocess.Popen(command, cwd=ROOT, env=tensorrt_env, stderr=theirs, stdout=-1) as process:
            os.close(theirs)
            shown = b"".join(read_all(ours))
        assert process.returncode == 0
        assert b"context fp32:   0%|" in shown
        assert b"Determining refit engines" in shown, "a phase of TensorRT's"


class TestBadInput:
    """One line each, the exit code of its kind, and nothing half-written."""

    def refusal(self, capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> str:
        assert main([*map(str, arguments)]) == code
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    def test_no_gpu(self, tiny: Path, engines: Path, capsys: pytest.CaptureFixture[str]) -> None:
        line = self.refusal(capsys, 1, "build", tiny, "--engines", engines)
        assert "no NVIDIA GPU in this machine; to try a build without a GPU, give --dry-run" in line
        assert not engines.exists()

    def test_no_tensorrt(
        self, tiny: Path, engines: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        line = self.refusal(capsys, 1, "ensure", tiny, "--engines", engines, "--dry-run")
        assert "TensorRT is not installed" in line

    def test_no_bundle(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        line = self.refusal(capsys, BundleError.exit_code, "ensure", tmp_path, "--dry-run")
        assert "give the folder of a model bundle" in line

    def test_a_graph_that_tensorrt_cannot_take(
        self, tiny: Path, tmp_path: Path, engines: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The other two networks get their engines."""
        bundle = spoilt_bundle.with_graph(tiny, tmp_path / "odd", "context", unknown_operators())
        assert ensure(bundle, engines) == InputError.exit_code
        told = capsys.readouterr()
        assert states(told.out) == [("failed", "context"), ("built", "colorizer"), ("built", "recognizer")]
        assert told.err.count("\n") == 1
        assert "Brighten" in told.err
        assert len(names(engines)) == 4

    @pytest.mark.parametrize("command", ["build", "ensure"])
    def test_a_graph_that_the_manifest_does_not_describe(
        self, command: str, tiny: Path, tmp_path: Path, engines: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        graph = onnx.load(tiny / read_manifest(tiny).models["context"].precisions["fp32"].file)
        graph.graph.input[0].type.tensor_type.shape.dim[2].dim_value += 2
        bundle = spoilt_bundle.with_graph(tiny, tmp_path / "odd", "context", graph.SerializeToString())
        options = ["--engines", str(engines), "--dry-run", "--progress", "json"]
        assert main([command, str(bundle), *options]) == BundleError.exit_code
        told = capsys.readouterr()
        assert states(told.out)[-3:] == [("failed", "context"), ("built", "colorizer"), ("built", "recognizer")]
        assert told.err.count("\n") == 1 and "other inputs or outputs than the manifest says" in told.err

    def test_a_file_in_place_of_the_folder(
        self, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "file"
        path.touch()
        for engines in (path, path / "engines"):
            line = self.refusal(capsys, 1, "ensure", tiny, "--engines", engines, "--dry-run")
            assert f"{engines}: cannot keep engines here: " in line
            assert "(--engines DIR)" in line

    def test_a_folder_that_may_only_be_read(self, tiny: Path, engines: Path, tensorrt_env: Env) -> None:
        engines.mkdir(mode=0o555)
        # Root may write everywhere, until it gives that right up.
        as_anybody = ["setpriv", "--bounding-set", "-dac_override"] if os.getuid() == 0 else []
        command = [*as_anybody, *command_of(tiny, engines)]
        done = subprocess.run(command, cwd=ROOT, env=tensorrt_env, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert f"{engines}: cannot keep engines here: Permission denied: give a folder" in done.stderr

    def test_a_disk_that_is_full(self, tiny: Path, engines: Path, tensorrt: Any, tensorrt_env: Env) -> None:
        """The engine has 400 kB, a file may have 100 kB; the engine of before is as it was."""
        ensure(tiny, engines)
        before = contents(engines)
        limit = 100_000
        done = subprocess.run(
            [*command_of(tiny, engines), "--level=1"],
            cwd=ROOT,
            env=tensorrt_env,
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert done.returncode == 1, done.stderr
        assert done.stderr.splitlines()[-1].count(f"{engines}: cannot keep engines here: File too large: ") == 1
        assert contents(engines) == before

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--converter", "torch2trt"], "--checkpoint RUN belong together"),
            (["--checkpoint", "run"], "--converter torch2trt and --checkpoint RUN belong together"),
            (["--converter", "torch2trt", "--checkpoint", "run"], "say which with --model"),
            (["--converter", "torch2trt", "--checkpoint", "run", "--model", "recognizer"], "recognizer"),
            (["--converter", "torch2trt", "--checkpoint", "run", "--model", "colorizer"], "torch2trt works up to"),
        ],
    )
    def test_torch2trt_where_it_cannot_be(
        self, arguments: list[str], words: str, tiny: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert words in self.refusal(capsys, 2, "build", tiny, "--dry-run", *arguments)

    @pytest.mark.parametrize(
        "arguments",
        [["--level", "6"], ["--workspace-mib", "0"], ["--workspace-mib", "1048577"], ["--precision", "int4"]],
    )
    def test_usage(self, arguments: list[str], tiny: Path) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["build", str(tiny), *arguments])
        assert ended.value.code == 2


class TestInterrupted:
    """Real processes, in the middle of a real build."""

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
    def test_the_engine_of_before_is_left(
        self,
        number: signal.Signals,
        code: int,
        tiny: Path,
        slow: Path,
        engines: Path,
        tensorrt: Any,
        tensorrt_env: Env,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        ensure(tiny, engines)
        before = contents(engines)
        with building(slow, engines, tensorrt_env) as process:
            process.send_signal(number)
            assert process.wait(60) == code
            assert process.stdout is not None
            assert '"built"' not in process.stdout.read()
        assert contents(engines) == before
        capsys.readouterr()
        assert ensure(tiny, engines) == 0
        assert states(capsys.readouterr().out) == all_of("kept")

    def test_two_builders(self, slow: Path, engines: Path, tensorrt_env: Env) -> None:
        """The second waits, says so, and finds nothing left to do."""
        with building(slow, engines, tensorrt_env) as first:
            second = subprocess.run(
                command_of(slow, engines), cwd=ROOT, env=tensorrt_env, capture_output=True, text=True, timeout=60
            )
            assert first.stdout is not None
            assert states(first.stdout.read())[-3:] == all_of("built")
            assert first.wait(60) == 0
        assert states(second.stdout) == [("waiting", None), *all_of("kept")]
        assert f"another build (process {first.pid}) works in {engines}" in second.stdout

    def test_a_builder_that_waits_shows_that_it_is_alive(self, tiny: Path, engines: Path, tensorrt_env: Env) -> None:
        """The service's start is not given up meanwhile."""
        with locked(engines, pytest.fail):
            second = subprocess.Popen(command_of(tiny, engines), cwd=ROOT, env=tensorrt_env, stdout=-1, text=True)
            assert second.stdout is not None
            waiting = [second.stdout.readline() for _ in range(3)]
        assert json.loads(waiting[0])["state"] == "waiting"
        assert waiting == waiting[:1] * 3
        assert states(second.stdout.read())[-3:] == all_of("built")
        second.stdout.close()
        assert second.wait(60) == 0

    def test_a_builder_that_waits_can_be_stopped(self, slow: Path, engines: Path, tensorrt_env: Env) -> None:
        with building(slow, engines, tensorrt_env) as first:
            second = subprocess.Popen(command_of(slow, engines), cwd=ROOT, env=tensorrt_env, stdout=-1, text=True)
            assert second.stdout is not None
            assert json.loads(second.stdout.readline())["state"] == "waiting"
            second.send_signal(signal.SIGINT)
            assert second.wait(60) == 130
            second.stdout.close()
            assert first.poll() is None

    def test_nobody_reads_the_progress(self, slow: Path, engines: Path, tensorrt_env: Env) -> None:
        """As when the service that started it was killed: the build ends, too."""
        with building(slow, engines, tensorrt_env) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.wait(60) != 0
        assert len(list(engines.glob("*.engine"))) < 2, "at the latest when it tells that the first is done"
