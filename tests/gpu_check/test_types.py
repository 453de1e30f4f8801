"""Most of the check runs on a GPU only: that it fits what it calls is seen here, by mypy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.gpu_check.running import ROOT


def test_mypy_finds_nothing():
    own = sorted(Path(__file__).parent.rglob("*.py"))
    files = [str(path.relative_to(ROOT)) for path in own if not path.name.startswith("test_")]
    options = [
        "--allow-untyped-calls",
        "--no-warn-unused-ignores",
        "--follow-imports=silent",
        "--explicit-package-bases",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
