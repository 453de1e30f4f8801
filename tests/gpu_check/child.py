"""One step, in its own process: `python -m tests.gpu_check.child FIGURES PART FUNCTION [ARGUMENT...]`.

Calls tests.gpu_check.parts.PART.FUNCTION(figures, *arguments).
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from tests.gpu_check.figures import Figures


def main() -> None:
    """Run a function of a part; whatever it raises is in the file of figures."""
    file, part, function, *arguments = sys.argv[1:]
    figures = Figures(Path(file))
    with figures.going_on():
        getattr(importlib.import_module(f"tests.gpu_check.parts.{part}"), function)(figures, *arguments)


if __name__ == "__main__":
    main()
