"""The power goes at any moment of a bundle's life: what is left works, and the next installation too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge.bundle_makers import release
from tests.edge.tiny_bundle import make_tiny_bundle

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("cuts", [30, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_the_power_goes(cuts: int, tmp_path: Path) -> None:
    """Spread over all operations on the file system of an installation, a trial, a switch and what follows."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    kinds = ("odd", "even", "odd", "even")
    sources = [release(bundle, tmp_path / f"{kind}{n}", f"1.{n}") for n, kind in enumerate(kinds)]
    command = [sys.executable, "-m", "tests.edge.bundles.power_cut", str(tmp_path), str(cuts), *map(str, sources)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["cuts"] >= cuts and told["by_time"] > 0
    assert told["steps"] > 50
    assert told["files_lost"] > 0, "some cuts come while a file is not on the disk"
