"""Cubins of the GPU's kernels: compiled by the real NVRTC, found fit or not before anything loads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.bundles.bundle import load_bundle
from edge.engines.cubins import SOURCES, CubinError, cubin_path, read_cubin
from edge.engines.progress import BuildProgress
from edge.engines.store import Flags, Target
from edge.errors import TapetumError
from edge.kernels import nvrtc
from edge.kernels.nvrtc import CompileError
from tests.edge.tiny_bundle import make_tiny_bundle
from trt_build.engines.ensure import Workshop
from trt_build.engines.kernels import build_cubins, ensure_cubins

MERGE, PREPROCESS = SOURCES
ORIN = "8.7"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compiled") / "engines"
    assert ensure_cubins(folder, ORIN) == [cubin_path(folder, source, ORIN) for source in SOURCES]
    return folder


@pytest.fixture
def folder(compiled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compiled, tmp_path / "engines"))


def edit_sidecar(cubin: Path, **changes: object) -> None:
    sidecar = cubin.with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | changes))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def take_another_gpus(cubin: Path) -> None:
    """As a unit does whose disk was moved into another."""
    edit_sidecar(cubin, compute_capability="9.0")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "the GPU's kernels were not compiled for this machine"),
    "no sidecar": (lambda cubin: cubin.with_suffix(".json").unlink(), "were not compiled for this machine"),
    "cut short": (lambda cubin: cubin.write_bytes(cubin.read_bytes()[:-1]), "truncated or altered"),
    "too long": (lambda cubin: cubin.write_bytes(cubin.read_bytes() + b"\0"), "truncated or altered"),
    "altered": (flip, "truncated or altered"),
    "a folder": (lambda cubin: (cubin.unlink(), cubin.mkdir()), "cannot be read"),
    "older source": (
        lambda cubin: edit_sidecar(cubin, source_sha256="0" * 64),
        "compiled from another preprocess.cu",
    ),
    "another GPU": (take_another_gpus, "compiled for a GPU of 9.0, here is 8.7"),
    "no JSON": (lambda cubin: cubin.with_suffix(".json").write_text("{"), "its sidecar is damaged"),
    "newer sidecar": (lambda cubin: edit_sidecar(cubin, schema=2), "its sidecar is damaged or not of this version"),
    "long sidecar": (
        lambda cubin: cubin.with_suffix(".json").write_bytes(b" " * (2 << 20)),
        "its sidecar is damaged",
    ),
}


def test_what_fits_is_kept(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert ensure_cubins(folder, ORIN) == []
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    for source in SOURCES:
        assert read_cubin(folder, source, ORIN) == cubin_path(folder, source, ORIN).read_bytes()
    sidecar = json.loads((folder / "lab_merge.sm_87.json").read_text())
    assert (sidecar["source"], sidecar["compute_capability"]) == ("lab_merge.cu", ORIN)
    assert sidecar["nvrtc"] == ".".join(map(str, nvrtc.Nvrtc().version))


@pytest.mark.parametrize(("spoil", "reason"), DAMAGE.values(), ids=DAMAGE.keys())
def test_what_does_not_fit_is_refused_and_compiled_again(
    folder: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    cubin = cubin_path(folder, PREPROCESS, ORIN)
    spoil(cubin)
    with pytest.raises(CubinError, match=f"{reason}.*: run tapetum-build ensure") as caught:
        read_cubin(folder, PREPROCESS, ORIN)
    assert "preprocess.sm_87" in str(caught.value)
    assert "\n" not in str(caught.value)
    if cubin.is_dir():
        cubin.rmdir()
    assert ensure_cubins(folder, ORIN) == [cubin]
    assert read_cubin(folder, PREPROCESS, ORIN)


def test_building_compiles_all(folder: Path) -> None:
    assert len(build_cubins(folder, ORIN)) == len(SOURCES)


def test_a_gpu_that_nvrtc_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"lab_merge\.cu does not compile for sm_30"):
        ensure_cubins(tmp_path, "3.0")
    assert list(tmp_path.iterdir()) == []


def test_without_nvrtc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "_candidates", lambda: iter(()))
    with pytest.raises(CompileError, match="NVRTC is missing: install a CUDA toolkit, or the Python package"):
        ensure_cubins(tmp_path, ORIN)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "engines").touch()
    with pytest.raises(TapetumError, match=r"cannot keep engines here: .*: give a folder that can be written to"):
        ensure_cubins(tmp_path / "engines", ORIN)


class TestWorkshop:
    """`build` and `ensure` compile them with the engines."""

    @pytest.fixture(autouse=True)
    def _prepare(self, tmp_path: Path) -> None:
        self.told: list[BuildProgress] = []
        self.bundle = load_bundle(make_tiny_bundle(tmp_path / "bundle"))

    def workshop(self, folder: Path, target: Target) -> Workshop:
        return Workshop(self.bundle, folder, target, Flags(), self.told.append)

    def test_for_the_gpu_of_the_machine(self, folder: Path) -> None:
        cubin_path(folder, PREPROCESS, ORIN).unlink()
        shop = self.workshop(folder, Target("10.3.0", "Orin", ORIN))
        shop.ensure([])
        assert [str(progress.detail) for progress in self.told] == ["preprocess.sm_87.cubin"]
        shop.ensure([])
        assert len(self.told) == 1
        shop.build([])
        assert [progress.state for progress in self.told] == ["built"] * 3

    def test_a_dry_run_is_for_no_gpu(self, tmp_path: Path) -> None:
        self.workshop(tmp_path / "none", Target("10.3.0", None, None)).ensure([])
        assert self.told == []
        assert list((tmp_path / "none").glob("*.cubin")) == []

    def test_a_failure_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nvrtc, "_candidates", lambda: iter(()))
        with pytest.raises(CompileError, match="NVRTC is missing"):
            self.workshop(tmp_path / "engines", Target("10.3.0", "Orin", ORIN)).ensure([])
