"""The only colour arithmetic of the service: luma and ab in, NV12 or a still out.

`lab_merge.cu` has it for GPUs and, built by the C++ compiler, for CPUs; where no compiler was at hand at the
installation, numpy and OpenCV do the same, slower.
"""

from __future__ import annotations

import logging
from functools import cache

from edge.kernels.base import Chroma, MergeKernel
from edge.kernels.native import NativeMerge, installed_library
from edge.kernels.portable import PortableMerge
from edge.types import UInt8Array

log = logging.getLogger(__name__)


@cache
def cpu_kernel() -> MergeKernel:
    """The best merge kernel of this installation, made once."""
    library = installed_library()
    try:
        if library is not None:
            return NativeMerge(library)
    except OSError as error:
        log.warning("%s; numpy merges instead", error)
    return PortableMerge()


def lab_merge_bgr(luma: UInt8Array, ab: Chroma) -> UInt8Array:
    """One still, uint8[H, W, 3] sRGB in OpenCV's order. See `MergeKernel.bgr`."""
    return cpu_kernel().bgr(luma, ab)
