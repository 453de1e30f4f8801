"""The kit: cut and put together again, damaged, not whole, for another machine; and installed without an index."""

from __future__ import annotations

import os
import platform
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.gpu_check.kit import install
from tests.gpu_check.kit.contents import GROUPS, target_options, this_python
from tests.gpu_check.kit.install import installed
from tests.gpu_check.kit.make import data_files, make
from tests.gpu_check.kit.parts import BLOCK, KitError, pack, read_manifest, unpack, write_manifest

ABOUT = {"python": this_python(), "machine": platform.machine(), "groups": [], "requirements": []}


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, Path]]:
    """Three files: empty, small, and larger than two parts."""
    made = []
    for name, size in (("empty", 0), ("small", 1000), ("large", 5 * BLOCK + 7)):
        path = tmp_path / name
        path.write_bytes(os.urandom(size))
        made.append((f"wheels/{name}", path))
    return made


@pytest.fixture
def kit(tmp_path: Path, files: list[tuple[str, Path]]) -> Path:
    folder = tmp_path / "kit"
    write_manifest(folder, pack(files, folder, 2 * BLOCK), ABOUT)
    return folder


def part_bytes(part: Path) -> int:
    return sum(file.stat().st_size for file in part.iterdir())


def test_no_part_is_larger_than_asked_for_and_all_comes_back(kit, files, tmp_path):
    parts = sorted(kit.iterdir())
    assert [part.name for part in parts] == ["part-01", "part-02", "part-03", "part-04"]
    assert all(part_bytes(part) <= 2 * BLOCK for part in parts)
    unpack(kit, read_manifest(kit)["files"], tmp_path / "out")
    for place, file in files:
        assert (tmp_path / "out" / place).read_bytes() == file.read_bytes()


def test_without_a_size_there_is_one_part(files, tmp_path):
    packed = pack(files, tmp_path / "kit", None)
    assert {piece.part for file in packed for piece in file.pieces} == {"part-01"}
    assert [piece.name for file in packed for piece in file.pieces] == [
        "wheels+empty",
        "wheels+small",
        "wheels+large",
    ]


def test_files_of_one_name_in_two_folders(tmp_path):
    paths = [tmp_path / name / "x.onnx" for name in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.write_text(path.parent.name)
    packed = pack([(f"graphs/{path.parent.name}/x.onnx", path) for path in paths], tmp_path / "kit", None)
    write_manifest(tmp_path / "kit", packed, ABOUT)
    unpack(tmp_path / "kit", read_manifest(tmp_path / "kit")["files"], tmp_path / "out")
    assert [(tmp_path / "out" / "graphs" / name / "x.onnx").read_text() for name in "ab"] == ["a", "b"]


def test_parts_that_are_missing_are_named_and_may_come_later(kit, tmp_path):
    manifest, out = read_manifest(kit), tmp_path / "out" / "wheels"
    (kit / "part-03").rename(tmp_path / "late")
    with pytest.raises(KitError, match="part-03 not there or not whole: bring all parts"):
        unpack(kit, manifest["files"], out.parent)
    assert sorted(path.name for path in out.iterdir()) == ["empty", "small"]
    (tmp_path / "late").rename(kit / "part-03")
    unpack(kit, manifest["files"], out.parent)
    assert sorted(path.name for path in out.iterdir()) == ["empty", "large", "small"]


def test_a_damaged_piece_is_refused_and_nothing_is_left(kit, tmp_path):
    piece = next((kit / "part-02").glob("*large*"))
    piece.write_bytes(bytes(piece.stat().st_size))
    with pytest.raises(KitError, match=r"wheels/large: sha256 differs .* part-0\d and"):
        unpack(kit, read_manifest(kit)["files"], tmp_path / "out")
    assert not (tmp_path / "out" / "wheels" / "large").exists()


def test_what_is_there_is_left_alone(kit, tmp_path):
    there = tmp_path / "out" / "wheels" / "small"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"mine")
    unpack(kit, read_manifest(kit)["files"], tmp_path / "out")
    assert there.read_bytes() == b"mine"


def test_a_folder_that_is_not_empty_is_not_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KitError, match="not empty"):
        make(tmp_path, [], python=this_python(), machine="x86_64")


@pytest.mark.parametrize("graphs", ["field", "field=", "field=nowhere"])
def test_graphs_that_are_not_there(graphs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KitError, match="give VARIANT=FOLDER"):
        list(data_files([graphs], None))


def test_graphs_and_images_have_their_places(tmp_path):
    for name in ("a.fp32.onnx", "a.json", "b.jpg", "notes"):
        (tmp_path / name).touch()
    places = [place for place, _ in data_files([f"field={tmp_path}"], tmp_path)]
    assert places == ["graphs/field/a.fp32.onnx", "graphs/field/a.json", "images/000.jpg"]


def test_platforms_are_those_that_wheels_are_named_after():
    options = target_options("3.12", "aarch64")
    for name in ("manylinux_2_17_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64"):
        assert f"--platform={name}" in options


def wheel(folder: Path) -> Path:
    """A package of one file, as small as a wheel can be."""
    path = folder / "tapetum_probe-1.0-py3-none-any.whl"
    info = "tapetum_probe-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tapetum_probe.py", "ANSWER = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tapetum-probe\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_a_kit_is_installed_without_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(install, "FOLDER", tmp_path / "place")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody answers there
    kit = tmp_path / "kit"
    file = wheel(tmp_path)
    about = ABOUT | {"requirements": ["tapetum-probe"]}
    write_manifest(kit, pack([(f"wheels/{file.name}", file)], kit, None), about)
    place = installed(kit)
    code = "import tapetum_probe, numpy; print(tapetum_probe.ANSWER)"  # numpy: the machine's packages are seen
    done = subprocess.run([place.python, "-c", code], env=dict(place.env), capture_output=True, text=True, timeout=60)
    assert done.stdout == "42\n", done.stderr
    assert place.python.startswith(str(tmp_path / "place"))
    write_manifest(kit, pack([], kit / "none", None), about | {"requirements": ["tapetum-none"]})
    with pytest.raises(KitError, match="tapetum-none"):
        installed(kit)


def test_a_kit_for_another_python(kit):
    write_manifest(kit, [], ABOUT | {"python": "3.99"})
    with pytest.raises(KitError, match=rf"for Python 3.99 .*: make one with --python {this_python()}"):
        installed(kit)


@pytest.mark.slow  # downloads 3 MB
@pytest.mark.timeout(600)
def test_a_kit_is_made_for_another_python(tmp_path):
    try:
        make(tmp_path / "kit", ["pycuda"], python="3.12", machine="x86_64", part_bytes=4 * BLOCK)
    except KitError as error:
        if "connection" in str(error).lower() and not os.environ.get("CI"):
            pytest.skip(f"no package index: {error}")
        raise
    manifest = read_manifest(tmp_path / "kit")
    names = [Path(file["path"]).name for file in manifest["files"]]
    assert manifest["requirements"] == list(GROUPS["pycuda"].installed)
    assert any(name.startswith("pycuda-") and name.endswith(".tar.gz") for name in names)
    assert any("cp312" in name for name in names)
    assert not any("cp311" in name for name in names)
