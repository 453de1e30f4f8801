"""What is in the .deb."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from edge.config import load_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


def field(deb: Path, name: str) -> str:
    return subprocess.run(
        ["dpkg-deb", "--field", deb, name], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def tree(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the package, its control files in DEBIAN."""
    folder = tmp_path_factory.mktemp("tree") / "tapetum"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, folder], check=True)
    return folder


def test_it_depends_on_all_that_a_unit_needs_and_on_this_python(deb: Path) -> None:
    depends = field(deb, "Depends").split(", ")
    lines = (ROOT / "packages.txt").read_text(encoding="utf-8").splitlines()
    wanted = {line.split()[1] for line in lines if line.startswith("run ")}
    assert wanted <= set(depends)
    minor = sys.version_info.minor
    assert {f"python3 (>= 3.{minor}~)", f"python3 (<< 3.{minor + 1}~)"} <= set(depends)


def test_only_the_site_s_configuration_is_kept_as_the_site_s(tree: Path) -> None:
    assert (tree / "DEBIAN" / "conffiles").read_text() == "/etc/tapetum/edge.toml\n"
    assert [path.name for path in (tree / "etc").rglob("*") if path.is_file()] == ["edge.toml"]


def test_the_configuration_asks_viewers_for_a_login_and_is_else_the_shipped_one(tree: Path) -> None:
    shipped, packed = load_config(ROOT / "systemd" / "edge.toml"), load_config(tree / "etc/tapetum/edge.toml")
    login = {"username": "viewer", "password_file": "rtsp-password"}
    assert packed == shipped.model_copy(update={"rtsp": shipped.rtsp.model_copy(update=login)})


def test_no_file_holds_a_password(tree: Path) -> None:
    """They are made when the package is installed."""
    assert not list(tree.rglob("*-password"))


def test_the_wheels_are_all_that_the_program_imports(tree: Path, tmp_path: Path) -> None:
    """pip finds them without an index. Here a try; the container installs them."""
    wheels = tree / "usr/share/tapetum/wheels"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    command: list[str | Path] = [
        tmp_path / "venv/bin/pip",
        "--isolated",
        "install",
        "--dry-run",
        "--no-index",
        "--find-links",
        wheels,
    ]
    result = subprocess.run([*command, "tapetum"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert len(re.findall(r"\S+-\d\S*", result.stdout.splitlines()[-1])) == len(list(wheels.iterdir()))


def test_all_files_belong_to_root_and_none_may_be_written_by_others(deb: Path) -> None:
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as unpacked,
        tarfile.open(fileobj=unpacked.stdout, mode="r|") as members,
    ):
        for member in members:
            assert (member.uname, member.gname) == ("root", "root"), member.name
            assert member.issym() or not member.mode & (stat.S_IWGRP | stat.S_IWOTH), member.name
    assert unpacked.returncode == 0


def test_the_files_are_those_that_dpkg_will_check(tree: Path) -> None:
    result = subprocess.run(
        ["md5sum", "--check", "--quiet", "DEBIAN/md5sums"], cwd=tree, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, "")
