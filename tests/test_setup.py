"""What `make setup` stands on: packages.txt and .ci/setup."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.video.gi import PACKAGES

ROOT = Path(__file__).parents[1]
STAMP = ROOT / ".venv" / ".setup-test"


def packages() -> list[list[str]]:
    lines = (ROOT / "packages.txt").read_text(encoding="utf-8").splitlines()
    return [line.split(maxsplit=2) for line in lines if line and not line.startswith("#")]


def test_every_package_has_a_level_and_a_reason() -> None:
    assert all(len(fields) == 3 and fields[0] in ("run", "demo", "build", "test") for fields in packages())
    names = [fields[1] for fields in packages()]
    assert len(names) == len(set(names))


def test_what_the_service_says_to_install_is_installed() -> None:
    assert set(PACKAGES.split()) <= {fields[1] for fields in packages() if fields[0] == "run"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh clone, as far as .ci/setup looks, with an apt-get and a sudo that note how they were called."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "setup", tmp_path / ".ci" / "setup")
    (tmp_path / "bin").mkdir()
    for name, script in {
        "apt-get": 'echo "apt-get $*" >> called; [ "$1" = update ]',  # nothing can be installed
        "sudo": '"$@"',
    }.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
    return tmp_path


def setup(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        [checkout / ".ci" / "setup", *arguments],
        env={**os.environ, "PATH": path, "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_exactly_the_missing_packages_are_asked_for(checkout: Path) -> None:
    text = "run dpkg there\nrun no-such-a missing\ndemo no-such-b missing\ntest no-such-c other level\n"
    (checkout / "packages.txt").write_text(text, encoding="utf-8")
    result = setup(checkout)
    assert result.returncode == 1
    assert result.stderr == "setup: apt-get could not install: no-such-a no-such-b\n"
    update, install = (checkout / "called").read_text(encoding="utf-8").splitlines()
    assert update.startswith("apt-get update")
    assert "--no-install-recommends" in install
    assert install.endswith(" no-such-a no-such-b")


def test_an_unknown_argument_installs_nothing(checkout: Path) -> None:
    result = setup(checkout, "tests")
    assert (result.returncode, result.stderr) == (1, "setup: unknown argument tests: give nothing, test or deb\n")
    assert not (checkout / "called").exists()


def test_a_package_needs_a_compiler_and_no_python_packages(checkout: Path) -> None:
    (checkout / "packages.txt").write_text("run dpkg there\nbuild no-such-a missing\ntest no-such-b other level\n")
    result = setup(checkout, "deb")
    assert result.stderr == "setup: apt-get could not install: no-such-a\n"
    (checkout / "packages.txt").write_text("build dpkg there\n")
    assert (setup(checkout, "deb").returncode, (checkout / ".venv").exists()) == (0, False)


@pytest.mark.skipif(not STAMP.exists(), reason="this .venv was made by hand, not by `make setup-test`")
def test_nothing_is_done_when_all_is_there() -> None:
    before = STAMP.stat().st_mtime_ns
    result = setup(ROOT, "test")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert STAMP.stat().st_mtime_ns == before
