"""Marks for tests that need a GPU. Where one is missing they are skipped, with the reason."""

from __future__ import annotations

import pytest

from edge.errors import TapetumError
from edge.inference.cuda import need_gpu
from edge.inference.tensorrt import load_tensorrt


def _lacks() -> str | None:
    try:
        need_gpu()
        load_tensorrt()
    except TapetumError as error:
        return str(error)
    return None


_REASON = _lacks()
NEEDS_GPU = (pytest.mark.gpu, pytest.mark.skipif(_REASON is not None, reason=str(_REASON)))
