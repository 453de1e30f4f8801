"""The project's own tests that need a GPU, which every other machine skips."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.gpu_check.driver import need_driver
from tests.gpu_check.figures import Figures
from tests.gpu_check.running import ROOT


def gpu_tests(figures: Figures) -> None:
    """pytest -m gpu.

    Raises:
        RuntimeError: a test failed, or none ran.
    """
    need_driver()
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *folders()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout)
    last = done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()[-300:]]
    figures["summary"] = last[0].strip("= ")
    if done.returncode or not re.search(r"\d+ passed", last[0]):
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        raise RuntimeError("; ".join(failed[:10]) or last[0])


def folders() -> list[str]:
    """Folders of tests in which some need a GPU; the others would ask for packages that nobody needs here."""
    own = Path(__file__).parents[1]
    marked = (path for path in (ROOT / "tests").glob("*/**/*.py") if own not in path.parents)
    return sorted({str(path.parent) for path in marked if "import NEEDS_GPU" in path.read_text(encoding="utf-8")})
