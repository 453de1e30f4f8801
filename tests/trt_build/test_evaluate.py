"""`evaluate` and its gate on real, hand-written networks, some of them spoilt."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge.__main__ import main as edge
from edge.bundles.bundle import DEMO_BUNDLE, load_bundle, read_manifest, write_manifest
from edge.bundles.manifest import ModelEntry, ModelName
from edge.errors import BundleError
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.trt_build.tiny_graphs import add_fp16, spoil, write_subjects
from trt_build.__main__ import main
from trt_build.commands.evaluate import table
from trt_build.judging import cost
from trt_build.judging.figures import UselessError, check_picture
from trt_build.judging.gate import Limits, Standard, refusal

FP32 = Standard("fp32", {"psnr_db": 24.0, "ap50": 0.5, "ap50_animals": 0.7})


@pytest.fixture(autouse=True)
def few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "ENOUGH_S", 0.0)  # the least number of runs will do


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    images, coco = write_subjects(tmp_path_factory.mktemp("subjects"), 2)
    return ["--images", str(images), "--coco", str(coco), "--coco-images", str(images)]


@pytest.fixture
def photographs(subjects: list[str]) -> list[str]:
    """The subjects of context network and colorizer alone."""
    return subjects[:2]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "bundle")


def entries(bundle: Path) -> dict[ModelName, ModelEntry]:
    return read_manifest(bundle).models


class TestFigures:
    def test_they_are_written_into_the_manifest(
        self, bundle: Path, subjects: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["evaluate", str(bundle), *subjects]) == 0
        found = entries(bundle)
        for precision in ("fp32", "int8"):
            assert found["recognizer"].accuracy[precision]["ap50_animals"] == pytest.approx(1, abs=0.01)
            assert 5 < found["colorizer"].accuracy[precision]["psnr_db"] < 40
        assert found["context"].accuracy == found["colorizer"].accuracy
        assert found["context"].judged_on == found["colorizer"].judged_on != found["recognizer"].judged_on
        for entry in found.values():
            assert entry.judged_on and entry.judged_on.images == 2
            assert {cost.bytes for cost in entry.cost.values()} == {g.bytes for g in entry.precisions.values()}
            assert all(cost.runtime.startswith("OpenVINO 2") and cost.machine for cost in entry.cost.values())
            assert not entry.refused and entry.chosen == "int8"  # the cheapest; the bundle's own choice was fp32
        assert read_manifest(bundle).schema_number == 2
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 8 and [line.split()[:2] for line in lines[1:3]] == [
            ["context", "fp32"],
            ["context", "int8"],
        ]
        assert all(line.endswith("  good") for line in lines[1:7])

    def test_what_cannot_be_judged_keeps_what_is_known_of_it(
        self, bundle: Path, subjects: list[str], photographs: list[str]
    ) -> None:
        assert main(["evaluate", str(bundle), *photographs]) == 0
        found = entries(bundle)
        assert found["colorizer"].accuracy and found["colorizer"].chosen == "int8"
        assert found["recognizer"].cost and not found["recognizer"].accuracy
        assert found["recognizer"].chosen == "fp32"
        before = found["colorizer"].accuracy
        assert main(["evaluate", str(bundle), *subjects[2:]]) == 0
        assert entries(bundle)["colorizer"].accuracy == before and entries(bundle)["recognizer"].accuracy


class TestGate:
    @pytest.mark.parametrize(
        ("figures", "reason"),
        [
            ({"psnr_db": 23.7}, None),
            ({"psnr_db": 25.0}, None),
            ({"ap50_animals": 0.685, "ap50": 0.1}, None),
            ({"psnr_db": 23.69}, "against fp32 it loses 0.31 dB of PSNR (24.00 to 23.69, limit 0.3)"),
            (
                {"ap50_animals": 0.68, "ap50": 0.6},
                "against fp32 it loses 2.0 points of AP50 of the animals (70.0 to 68.0, limit 1.5)",
            ),
            ({"ap50": 0.48}, "against fp32 it loses 2.0 points of AP50 (50.0 to 48.0, limit 1.5)"),
            (
                {"psnr_db": 20.0, "ap50": 0.4},
                "against fp32 it loses 4.00 dB of PSNR (24.00 to 20.00, limit 0.3) and "
                "10.0 points of AP50 (50.0 to 40.0, limit 1.5)",
            ),
        ],
    )
    def test_limits(self, figures: dict[str, float], reason: str | None) -> None:
        assert refusal(figures, FP32, Limits()) == reason

    def test_a_network_that_loses_too_much_is_refused_and_the_others_are_not(
        self, bundle: Path, subjects: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        spoil(bundle, "colorizer", "int8", "ab", scale=2)
        spoil(bundle, "recognizer", "int8", "boxes", shift=40)
        assert main(["evaluate", str(bundle), *subjects]) == 0
        found = entries(bundle)
        assert [found[m].chosen for m in ("context", "colorizer", "recognizer")] == ["int8", "fp32", "fp32"]
        assert not found["context"].refused
        assert found["colorizer"].refused["int8"].startswith("against fp32 it loses ")
        assert "points of AP50 of the animals (100.0 to 0.0, limit 1.5)" in found["recognizer"].refused["int8"]
        assert "  refused: against fp32 it loses" in capsys.readouterr().out
        assert load_bundle(bundle).model_path("colorizer").name == "colorizer_fp32.onnx"

    def test_a_context_network_that_spoils_the_picture_is_refused_alone(
        self, bundle: Path, photographs: list[str]
    ) -> None:
        spoil(bundle, "context", "int8", "context", shift=40)
        assert main(["evaluate", str(bundle), *photographs]) == 0
        found = entries(bundle)
        assert list(found["context"].refused) == ["int8"] and not found["colorizer"].refused
        assert found["context"].chosen == "fp32" and found["colorizer"].chosen == "int8"
        psnr = {m: found[m].accuracy["int8"]["psnr_db"] for m in ("context", "colorizer")}
        assert psnr["context"] < psnr["colorizer"]  # each is what the verdict stands on

    def test_two_that_are_good_alone_may_be_bad_together(self, bundle: Path, photographs: list[str]) -> None:
        spoil(bundle, "context", "int8", "context", shift=25)
        spoil(bundle, "colorizer", "int8", "ab", shift=25)
        alone = ["evaluate", str(bundle), *photographs, "--max-psnr-loss"]
        assert main([*alone, "0"]) == 0
        found = entries(bundle)
        losses = [
            found[m].accuracy["fp32"]["psnr_db"] - found[m].accuracy["int8"]["psnr_db"]
            for m in ("context", "colorizer")
        ]
        assert main([*alone, f"{max(losses) + 0.01:.4f}"]) == 0
        for model in ("context", "colorizer"):
            reason = entries(bundle)[model].refused["int8"]
            assert reason.startswith("context network and colorizer together: against fp32 it loses")

    def test_a_precision_that_one_of_the_pair_lacks(self, bundle: Path, photographs: list[str]) -> None:
        add_fp16(bundle, "colorizer")
        spoil(bundle, "colorizer", "fp16", "ab", scale=2)
        assert main(["evaluate", str(bundle), *photographs]) == 0
        assert list(entries(bundle)["colorizer"].refused) == ["fp16"] and not entries(bundle)["context"].refused

    @pytest.mark.parametrize(
        ("model", "output", "precision"),
        [("colorizer", "ab", "int8"), ("context", "context", "int8"), ("recognizer", "scores", "int8"),
         ("colorizer", "ab", "fp32")],
    )  # fmt: skip
    def test_nan_is_refused(
        self, model: ModelName, output: str, precision: str, bundle: Path, subjects: list[str]
    ) -> None:
        spoil(bundle, model, precision, output, scale=np.nan)  # type: ignore[arg-type]
        assert main(["evaluate", str(bundle), *subjects]) == 0
        found = entries(bundle)
        assert found[model].refused == {precision: f"its output {output} is not finite: NaN or infinity"}
        assert [m for m in found if found[m].refused] == [model]
        assert precision not in found[model].accuracy and precision not in found[model].cost
        load_bundle(bundle)

    def test_nan_is_found_without_images_to_judge_by(self, bundle: Path, photographs: list[str]) -> None:
        spoil(bundle, "recognizer", "fp32", "boxes", scale=np.inf)
        assert main(["evaluate", str(bundle), *photographs]) == 0
        assert entries(bundle)["recognizer"].chosen == "int8"  # fp32, the choice so far, cannot stay

    def test_a_network_that_paints_over_everything_is_refused(self, bundle: Path, photographs: list[str]) -> None:
        spoil(bundle, "colorizer", "int8", "ab", scale=0, shift=1e6)
        assert main(["evaluate", str(bundle), *photographs]) == 0
        assert entries(bundle)["colorizer"].refused["int8"] == (
            "its chroma lies beyond all colours: 1e+06 at the median, 128 at most"
        )

    def test_what_is_a_picture(self) -> None:
        luma = np.linspace(0, 255, 64, dtype=np.uint8)[:, None].repeat(64, 1)
        black, closed = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
        check_picture(luma, luma[..., None].repeat(3, 2))
        check_picture(closed, black)  # nothing can be seen: a closed shutter
        with pytest.raises(UselessError, match="its picture is black where the frame shows something"):
            check_picture(luma, black)
        with pytest.raises(UselessError, match="its picture is of one colour"):
            check_picture(luma, black + np.array([0, 90, 200], np.uint8))

    def test_nothing_is_left(self, bundle: Path, photographs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        for precision in ("fp32", "int8"):
            spoil(bundle, "colorizer", precision, "ab", scale=np.nan)  # type: ignore[arg-type]
        assert main(["evaluate", str(bundle), *photographs]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("tapetum-build: bundle tiny: every precision of colorizer is refused: pack it with")
        assert set(entries(bundle)["colorizer"].refused) == {"fp32", "int8"}  # it is written down all the same

    def test_a_choice_of_the_user_stays(self, bundle: Path, photographs: list[str], tmp_path: Path) -> None:
        fixed = tmp_path / "fixed"
        assert main(["pack", str(bundle), "--out", str(fixed), "--chosen", "fp32"]) == 0
        assert main(["evaluate", str(fixed), *photographs]) == 0
        assert {entry.chosen for entry in entries(fixed).values()} == {"fp32"} and entries(fixed)[
            "colorizer"
        ].accuracy

    def test_what_is_sound_again_is_not_refused_any_more(self, bundle: Path, photographs: list[str]) -> None:
        spoil(bundle, "colorizer", "int8", "ab", scale=2)
        assert main(["evaluate", str(bundle), *photographs]) == 0
        spoil(bundle, "colorizer", "int8", "ab", scale=0.5)
        assert main(["evaluate", str(bundle), *photographs]) == 0
        assert not entries(bundle)["colorizer"].refused and entries(bundle)["colorizer"].chosen == "int8"


class TestStandardThatWasLeftOut:
    @pytest.fixture
    def trimmed(self, bundle: Path, photographs: list[str], tmp_path: Path) -> Path:
        """int8 alone, too bad for the usual limits, with fp32's figures."""
        spoil(bundle, "colorizer", "int8", "ab", scale=2)
        assert main(["evaluate", str(bundle), *photographs, "--max-psnr-loss", "99"]) == 0
        assert main(["pack", str(bundle), "--out", str(tmp_path / "small"), "--ship", "int8"]) == 0
        return tmp_path / "small"

    def test_its_figures_count_on_the_same_images(
        self, trimmed: Path, photographs: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "fp32" in entries(trimmed)["colorizer"].accuracy
        capsys.readouterr()
        assert main(["evaluate", str(trimmed), *photographs]) == 1
        assert entries(trimmed)["colorizer"].refused["int8"].startswith("against fp32 it loses")
        assert "fp32" in entries(trimmed)["colorizer"].accuracy
        assert "good (not in this bundle)" in capsys.readouterr().out

    def test_they_do_not_on_others(self, trimmed: Path, tmp_path: Path) -> None:
        images, _ = write_subjects(tmp_path / "other", 1)
        assert main(["evaluate", str(trimmed), "--images", str(images)]) == 0
        assert not entries(trimmed)["colorizer"].refused
        assert set(entries(trimmed)["colorizer"].accuracy) == {"int8"}


class TestRefusedPrecision:
    @pytest.fixture
    def refused(self, bundle: Path) -> Path:
        manifest = read_manifest(bundle)
        entry = manifest.models["colorizer"].model_copy(update={"refused": {"int8": "it loses 9.00 dB"}})
        write_manifest(bundle, manifest.model_copy(update={"models": {**manifest.models, "colorizer": entry}}))
        return bundle

    def test_the_edge_does_not_load_it(self, refused: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert load_bundle(refused).precision_of("colorizer") == "fp32"
        with pytest.raises(BundleError):
            load_bundle(refused).model_path("colorizer", "int8")
        image, out = refused / "none.png", refused / "out"
        image.touch()
        command = ["process", str(image), "--out", str(out), "--bundle", str(refused), "--precision", "int8"]
        assert edge(command) == 4
        assert capsys.readouterr().err == (
            "tapetum-edge: bundle tiny: the int8 colorizer is refused: it loses 9.00 dB: choose precision fp32, or "
            "insist with allow_refused = true or --allow-refused\n"
        )
        assert not out.exists()
        assert edge([*command, "--allow-refused"]) == 3  # the broken image: the bundle is loaded
        assert "none.png" in capsys.readouterr().err

    def test_unless_the_configuration_insists(self, refused: Path, tmp_path: Path) -> None:
        config = tmp_path / "edge.toml"
        text = '[source]\nkind = "test"\n[rtsp]\nenabled = false\n[mqtt]\nenabled = false\n'
        text += f'[bundle]\npath = "{refused}"\nprecision = "int8"\n'
        config.write_text(text, encoding="utf-8")
        assert edge(["check", "--config", str(config)]) == 4
        assert edge(["run", "--config", str(config)]) == 4
        assert edge(["check", "--config", str(config), "--allow-refused"]) == 0
        config.write_text(text + "allow_refused = true\n", encoding="utf-8")
        assert edge(["check", "--config", str(config)]) == 0


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "code", "message"),
        [
            ([], 2, "there is nothing to judge by"),
            (["--coco", "x.json"], 2, "--coco and --coco-images belong together"),
            (["--images", "{tmp}/none"], 3, "neither a folder of images"),
            (["--images", "{tmp}", "--sign", "{tmp}/none"], 3, "cannot read the private key"),
        ],
    )
    def test_options(
        self,
        options: list[str],
        code: int,
        message: str,
        bundle: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        before = (bundle / "manifest.json").read_bytes()
        (tmp_path / "0.png").touch()
        assert main(["evaluate", str(bundle), *(option.format(tmp=tmp_path) for option in options)]) == code
        assert_one_line(capsys, message)
        assert (bundle / "manifest.json").read_bytes() == before

    def test_no_usable_image(self, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "0.png").write_bytes(b"no picture")
        assert main(["evaluate", str(bundle), "--images", str(tmp_path)]) == 3
        assert "none of the 1 images can be used" in capsys.readouterr().err

    def test_an_altered_bundle(self, bundle: Path, subjects: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        (bundle / "context_int8.onnx").write_bytes(b"else")
        assert main(["evaluate", str(bundle), *subjects]) == 4
        assert_one_line(capsys, "context_int8.onnx: 4 bytes instead of")

    def test_count(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["evaluate", "x", "--count", "0"])
        assert "'0' is not a whole number from 1 on" in capsys.readouterr().err

    @pytest.mark.parametrize("limit", ["-1", "nan", "much"])
    def test_limits(self, limit: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            main(["evaluate", "x", "--max-psnr-loss", limit])
        assert "is not a number from 0 to 100" in capsys.readouterr().err


def assert_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    error = capsys.readouterr().err
    assert error.startswith("tapetum-build: ") and error.count("\n") == 1 and message in error


SINCE_SCHEMA_2 = ("judged_on", "cost", "float_layers", "refused", "chosen_fixed")


def test_a_bundle_of_schema_1_is_read_and_becomes_one_of_schema_2(tmp_path: Path) -> None:
    shutil.copytree(DEMO_BUNDLE, tmp_path / "old")
    path = tmp_path / "old" / "manifest.json"
    document = json.loads(path.read_text())
    for entry in document["models"].values():
        for key in SINCE_SCHEMA_2:
            entry.pop(key, None)
    del document["calibration"]["method"]
    path.write_text(json.dumps(document | {"schema": 1}))
    old = read_manifest(tmp_path / "old")
    assert old.schema_number == 1
    assert main(["pack", str(tmp_path / "old"), "--out", str(tmp_path / "new")]) == 0
    new = read_manifest(tmp_path / "new")
    assert new.schema_number == 2 and '"schema": 2' in (tmp_path / "new" / "manifest.json").read_text()
    for key in ("name", "version", "labels", "models", "calibration", "provenance"):
        assert getattr(new, key) == getattr(old, key), key
    load_bundle(tmp_path / "new")
    assert table(new)
