"""`pack`: graphs or a bundle in, a bundle out, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge.bundles.bundle import DEMO_BUNDLE, load_bundle, read_manifest, write_manifest
from edge.bundles.manifest import MODEL_NAMES, ModelEntry
from edge.errors import BundleError
from edge.vision.networks import Networks
from tests.edge.test_atomic import ended_process
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.trt_build.tiny_graphs import make_tiny_graphs, write_subjects
from trt_build.__main__ import main
from trt_build.graphs import read_card, write_card
from trt_build.signing import make_keys

# Imports everything, then limits the size of files, as a full disk would, or becomes another user.
RESTRICTED = """
import os, resource, sys
import trt_build.commands.evaluate, trt_build.evaluate, trt_build.pack
from trt_build.__main__ import main
from edge.arguments import whole
if sys.argv[1] == "user":
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_graphs(tmp_path_factory.mktemp("tiny") / "graphs")


@pytest.fixture
def tiny(made: Path, tmp_path: Path) -> Path:
    """A folder of graphs of a test's own."""
    return Path(shutil.copytree(made, tmp_path / "graphs"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


class TestFromGraphs:
    def test_all_that_is_known_of_them_is_in_the_manifest(self, tiny: Path, out: Path) -> None:
        card = read_card(tiny, "colorizer")
        card.float_layers = {"int8": ["/fuse/Gemm"], "fp16": ["/gone"], "fp32": []}
        write_card(tiny, card)
        assert main(["pack", str(tiny), "--out", str(out), "--name", "site", "--bundle-version", "7"]) == 0
        manifest = load_bundle(out).manifest
        assert (manifest.name, manifest.version, manifest.labels) == ("site", "7", ("cat", "dog"))
        assert manifest.calibration and manifest.calibration.images == 16
        assert manifest.provenance["recognizer.command"] == "by hand: recognizer"
        assert manifest.models["colorizer"].float_layers == {"int8": ("/fuse/Gemm",)}
        for entry in manifest.models.values():
            assert list(entry.precisions) == ["fp32", "int8"] and entry.chosen == "int8" and not entry.chosen_fixed
        with Networks(load_bundle(out, "fp32")) as networks:
            grey = np.full((48, 64), 128, np.uint8)
            networks.colour(grey, networks.context(grey))
            networks.detect(grey)

    def test_only_what_is_asked_for_ships(self, tiny: Path, out: Path) -> None:
        assert main(["pack", str(tiny), "--out", str(out), "--name", "site", "--ship", "int8"]) == 0
        assert sorted(files(out)) == sorted(["manifest.json", *(f"{model}.int8.onnx" for model in MODEL_NAMES)])
        with pytest.raises(BundleError, match="no fp32"):
            load_bundle(out, "fp32")

    def test_a_choice_is_noted_as_fixed(self, tiny: Path, out: Path) -> None:
        assert main(["pack", str(tiny), "--out", str(out), "--name", "site", "--chosen", "fp32"]) == 0
        for entry in read_manifest(out).models.values():
            assert entry.chosen == "fp32" and entry.chosen_fixed

    def test_a_smaller_bundle_leaves_nothing_of_the_larger_one(self, tiny: Path, out: Path) -> None:
        out.mkdir()
        for name in ("night.mp4", "LICENCE.txt"):  # a demo's bundle begins with its clip
            (out / name).write_bytes(b"kept")
        assert main(["pack", str(tiny), "--out", str(out), "--name", "both"]) == 0
        assert len(list(out.glob("*.onnx"))) == 6
        (out / "engines").mkdir()
        assert main(["pack", str(tiny), "--out", str(out), "--name", "small", "--ship", "int8"]) == 0
        expected = ["LICENCE.txt", "engines", "manifest.json", "night.mp4"]
        assert sorted(p.name for p in out.iterdir()) == sorted([*expected, *(f"{m}.int8.onnx" for m in MODEL_NAMES)])
        assert load_bundle(out).manifest.name == "small"

    def test_a_site_s_colorizer_joins_the_recognizer_of_another_bundle(self, tiny: Path, out: Path) -> None:
        for path in tiny.glob("recognizer*"):
            path.unlink()
        given = ["pack", str(tiny), "--out", str(out), "--name", "site", "--ship", "int8"]
        assert main(given) == 3  # there is no recognizer yet
        before = files(tiny)
        assert main([*given, "--base", str(DEMO_BUNDLE)]) == 0
        assert files(tiny) == before
        demo, manifest = read_manifest(DEMO_BUNDLE), load_bundle(out).manifest
        assert manifest.models["recognizer"] == demo.models["recognizer"]  # with what was measured of it
        assert manifest.labels == demo.labels
        assert manifest.provenance["recognizer.from"] == f"bundle {demo.name} {demo.version}"
        assert manifest.models["colorizer"].precisions != demo.models["colorizer"].precisions


class TestFromBundle:
    @pytest.fixture
    def measured(self, tmp_path: Path) -> Path:
        """A bundle whose int8 colorizer was refused; its files have names of their own."""
        folder = make_tiny_bundle(tmp_path / "measured", chosen="int8")
        change(folder, accuracy={"fp32": {"psnr_db": 24.0}, "int8": {"psnr_db": 20.0}}, refused={"int8": "too grey"})
        return folder

    def test_what_was_measured_comes_along(self, measured: Path, out: Path) -> None:
        assert main(["pack", str(measured), "--out", str(out), "--name", "renamed"]) == 0
        old, new = read_manifest(measured), load_bundle(out).manifest
        assert (new.name, new.version, new.calibration, new.labels) == ("renamed", "1.0", old.calibration, old.labels)
        assert new.models["colorizer"].accuracy == old.models["colorizer"].accuracy
        assert new.models["colorizer"].refused == {"int8": "too grey"}
        assert [new.models[model].chosen for model in MODEL_NAMES] == ["int8", "fp32", "int8"]

    @pytest.mark.parametrize(
        ("options", "chosen", "fixed"),
        [
            ([], "fp32", True),
            (["--chosen", "auto"], "int8", False),
            (["--chosen", "int8"], "int8", True),
        ],
    )
    def test_a_choice_of_the_user_stays_until_he_says_otherwise(
        self, options: list[str], chosen: str, fixed: bool, tiny: Path, out: Path, tmp_path: Path
    ) -> None:
        first = tmp_path / "first"
        assert main(["pack", str(tiny), "--out", str(first), "--name", "x", "--chosen", "fp32"]) == 0
        assert main(["pack", str(first), "--out", str(out), *options]) == 0
        for entry in read_manifest(out).models.values():
            assert (entry.chosen, entry.chosen_fixed) == (chosen, fixed)

    def test_figures_stay_when_the_precision_does_not(self, measured: Path, out: Path) -> None:
        assert main(["pack", str(measured), "--out", str(out), "--ship", "fp32"]) == 0
        entry = load_bundle(out).manifest.models["colorizer"]
        assert list(entry.precisions) == ["fp32"] and set(entry.accuracy) == {"fp32", "int8"}

    def test_a_bundle_can_be_trimmed_where_it_is(self, measured: Path) -> None:
        assert main(["pack", str(measured), "--out", str(measured), "--ship", "fp32"]) == 0
        assert sorted(files(measured)) == sorted(["manifest.json", *(f"{model}.fp32.onnx" for model in MODEL_NAMES)])
        load_bundle(measured)

    def test_a_refused_precision_alone_does_not_ship_unless_one_insists(
        self, measured: Path, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["pack", str(measured), "--out", str(out), "--ship", "int8"]
        assert main(command) == 3
        assert "no precision to ship of the colorizer is left: int8: too grey: " in capsys.readouterr().err
        assert not out.exists()
        assert main([*command, "--chosen", "int8"]) == 0
        with pytest.raises(BundleError, match="too grey"):
            load_bundle(out)
        load_bundle(out, allow_refused=True)

    def test_an_altered_bundle_is_not_packed(
        self, measured: Path, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (measured / "recognizer_int8.onnx").write_bytes(b"else")
        assert main(["pack", str(measured), "--out", str(out), "--ship", "fp32"]) == 4
        assert "recognizer_int8.onnx: 4 bytes instead of" in capsys.readouterr().err
        assert not out.exists()


def change(folder: Path, **update: object) -> None:
    """Edit what a bundle says of its colorizer."""
    manifest = read_manifest(folder)
    entry: ModelEntry = manifest.models["colorizer"].model_copy(update=update)
    write_manifest(folder, manifest.model_copy(update={"models": {**manifest.models, "colorizer": entry}}))


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["{tmp}", "--name", "x"], 3, "not the card of an exported network"),
            (["{tmp}/absent", "--name", "x"], 3, "not the card of an exported network"),
            (["{graphs}"], 2, "--name is needed"),
            (
                ["{graphs}", "--name", "x", "--ship", "fp16"],
                3,
                "no fp16 graph of the context: run tapetum-build quan",
            ),
            (["{graphs}", "--name", "x", "--chosen", "fp16"], 3, "chosen precision fp16 of the context is not among"),
            (["{graphs}", "--name", "x", "--ship", "fp32", "--chosen", "int8"], 3, "not among those to ship, fp32"),
            (["{demo}", "--base", "{demo}"], 2, "--base belongs to a folder of graphs"),
            (["{graphs}", "--name", "x", "--base", "{tmp}"], 4, "cannot read the bundle's manifest"),
            (["{graphs}", "--name", "x", "--sign", "{tmp}/no.pem"], 3, "cannot read the private key"),
            (["{graphs}", "--name", "bad name"], 2, "this cannot stand in a manifest: name: "),
            (["{graphs}", "--name", "x", "--bundle-version", ""], 2, "this cannot stand in a manifest: version: "),
        ],
    )
    def test_options(
        self,
        arguments: list[str],
        code: int,
        message: str,
        made: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        filled = [a.format(tmp=tmp_path, graphs=made, demo=DEMO_BUNDLE) for a in arguments]
        assert main(["pack", *filled, "--out", str(tmp_path / "b")]) == code
        assert_one_line(capsys, message)
        assert not (tmp_path / "b").exists()

    def test_a_network_without_a_graph(self, tiny: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for path in tiny.glob("context.*.onnx"):
            path.unlink()
        assert main(["pack", str(tiny), "--out", str(out), "--name", "x"]) == 3
        assert_one_line(capsys, "no graph of the context: run tapetum-build export")

    def test_precisions_that_differ_in_their_inputs(
        self, tiny: Path, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tiny / "context.int8.onnx"
        model = onnx.load(path)
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 192
        onnx.save(model, path)
        assert main(["pack", str(tiny), "--out", str(out), "--name", "x"]) == 3
        assert_one_line(capsys, "context.int8.onnx: other inputs or outputs than in fp32")

    @pytest.mark.parametrize(
        "update",
        [{"labels": 5}, {"labels": [5]}, {"provenance": []}, {"float_layers": {"int8": 5}}, {"name": "context"}],
    )
    def test_a_damaged_card(
        self, update: dict[str, object], tiny: Path, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        card = tiny / "recognizer.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | update))
        assert main(["pack", str(tiny), "--out", str(out), "--name", "site"]) == 3
        assert_one_line(capsys, f"{card}: ")
        assert not out.exists()

    def test_a_damaged_note_of_the_calibration(
        self, tiny: Path, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tiny / "calibration.json").write_text('{"images": 0}', encoding="utf-8")
        assert main(["pack", str(tiny), "--out", str(out), "--name", "x"]) == 3
        assert_one_line(capsys, "calibration.json: damaged: run tapetum-build quantize again")

    @pytest.mark.parametrize("name", ["diary.md", "colorizer.json"])
    def test_a_bundle_does_not_replace_a_folder_of_something_else(
        self, name: str, tiny: Path, out: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out.mkdir()
        (out / name).write_text("dear diary", encoding="utf-8")
        assert main(["pack", str(tiny), "--out", str(out), "--name", "x"]) == 3
        assert_one_line(capsys, f"holds other files ({name})")
        assert list(files(out)) == [name]

    def test_a_file_in_place_of_the_folder(
        self, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        assert main(["pack", str(tiny), "--out", str(tmp_path / "file" / "b"), "--name", "x"]) == 1
        assert_one_line(capsys, f"{tmp_path / 'file' / 'b'}: cannot write the bundle: Not a directory")


class TestWholeOrNotAtAll:
    @pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
    def test_files_change_places_all_or_none(
        self, stop: signal.Signals, tiny: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert main(["pack", str(tiny), "--out", str(out), "--name", "old", "--ship", "fp32"]) == 0
        replace_file = Path.replace

        def stopped(source: Path, target: Path) -> Path:
            if target.name == "context.fp32.onnx":  # the first to be put in its place
                signal.raise_signal(stop)
            return replace_file(source, target)

        monkeypatch.setattr(Path, "replace", stopped)
        assert main(["pack", str(tiny), "--out", str(out), "--name", "new", "--ship", "fp32"]) == 130
        assert load_bundle(out).manifest.name == "new"
        assert not list(out.glob(".*"))

    def test_an_interrupted_pack_keeps_the_old_bundle_and_can_be_repeated(
        self, tiny: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        command = ["pack", str(tiny), "--out", str(out), "--name"]
        assert main([*command, "old"]) == 0
        before = files(out)
        copied = []

        def interrupted(_source: Path, target: Path) -> None:
            target.write_bytes(b"half a graph")
            copied.append(target)
            if len(copied) == 3:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "copyfile", interrupted)
            assert main([*command, "new"]) == 130
        assert files(out) == before
        assert main([*command, "new"]) == 0
        assert load_bundle(out).manifest.name == "new"

    def test_a_disk_that_is_full_at_the_second_graph_keeps_the_old_bundle(
        self, tiny: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Some file systems find room only when asked to sync."""
        command = ["pack", str(tiny), "--out", str(out), "--name"]
        assert main([*command, "old"]) == 0
        before = files(out)
        synced, sync = [], os.fsync

        def full(descriptor: int) -> None:
            synced.append(descriptor)
            if len(synced) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        for graph in tiny.glob("*.onnx"):
            model = onnx.load(graph)
            model.producer_name = "a newer one"
            onnx.save(model, graph)
        assert main([*command, "new"]) == 1
        assert_one_line(capsys, f"{out}: cannot write the bundle: No space left on device")
        assert files(out) == before

    @pytest.mark.parametrize("command", ["pack", "sign"])
    def test_what_a_killed_run_left_is_removed(self, command: str, tiny: Path, out: Path, tmp_path: Path) -> None:
        pack = ["pack", str(tiny), "--out", str(out), "--name", "x"]
        assert main(pack) == 0
        before = set(files(out))
        (out / f".manifest.{ended_process()}.tmp.json").write_bytes(b"half")
        (out / ".mine").touch()
        private, _ = make_keys(tmp_path / "site")
        assert main(pack if command == "pack" else ["sign", str(out), "--key", str(private)]) == 0
        assert set(files(out)) - {"manifest.sig"} == before | {".mine"}

    @pytest.mark.parametrize("limit", [1000, 5700])  # not even the manifest fits; all fits but the last graph
    def test_a_full_disk_keeps_the_old_bundle(self, limit: int, tiny: Path, out: Path) -> None:
        command = ["pack", str(tiny), "--out", str(out), "--name"]
        assert main([*command, "old"]) == 0
        before = files(out)
        done = restricted(str(limit), *command, "new")
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith(
            f"tapetum-build: {out}: cannot write the bundle: File too large: what was there"
        )
        assert files(out) == before
        load_bundle(out)

    def test_a_full_disk_keeps_what_was_known_before_an_evaluation(
        self, tiny: Path, out: Path, tmp_path: Path
    ) -> None:
        assert main(["pack", str(tiny), "--out", str(out), "--name", "x"]) == 0
        before = files(out)
        images, _ = write_subjects(tmp_path / "subjects", 1)
        done = restricted("1000", "evaluate", str(out), "--images", str(images))
        assert done.returncode == 1, done.stderr
        assert f"tapetum-build: {out}: cannot write the bundle: File too large" in done.stderr.splitlines()[-1]
        assert files(out) == before

    @pytest.fixture
    def readable(self, made: Path) -> Iterator[Path]:
        """A folder that every user can read (pytest's own cannot be), and none but root can write into."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            shutil.copytree(made, root / "graphs")
            assert main(["pack", str(root / "graphs"), "--out", str(root / "bundle"), "--name", "old"]) == 0
            (root / "0.png").touch()  # nothing is read before it is known that something can be written
            for path in (root, root / "bundle"):
                path.chmod(0o555)
            yield root
            for path in (root, root / "bundle"):
                path.chmod(0o755)

    @pytest.mark.parametrize("command", ["pack", "evaluate"])
    def test_no_permission_to_write(self, command: str, readable: Path) -> None:
        bundle = readable / "bundle"
        before = files(bundle)
        arguments = {
            "pack": ["pack", str(readable / "graphs"), "--out", str(bundle), "--name", "new"],
            "evaluate": ["evaluate", str(bundle), "--images", str(readable)],
        }
        user = "user" if os.getuid() == 0 else str(1 << 30)
        done = restricted(user, *arguments[command])
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith(f"tapetum-build: {bundle}: ") and done.stderr.count("\n") == 1
        assert "ermission" in done.stderr
        assert files(bundle) == before


def test_a_package_that_is_not_installed() -> None:
    code = "import sys; sys.modules['onnx'] = None; from trt_build.__main__ import main; sys.exit(main(['pack']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert (
        done.stderr
        == "tapetum-build: needs the package onnx: pip install 'tapetum[build]', on a unit 'tapetum[jetson]'\n"
    )


def restricted(how: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`tapetum-build` in a process that may write no larger files, or as a user who owns nothing."""
    command = [sys.executable, "-c", RESTRICTED, how, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def assert_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    error = capsys.readouterr().err
    assert error.startswith("tapetum-build: ") and error.count("\n") == 1 and message in error, error
