"""What this machine builds engines for."""

from __future__ import annotations

from edge.engines.store import Target
from edge.inference.cuda import need_gpu
from edge.inference.tensorrt import tensorrt_version


def target_here() -> Target:
    """This machine's GPU and TensorRT.

    Raises:
        NoGpuError: it has no GPU.
        TensorRtError: it has no TensorRT.
    """
    gpu = need_gpu()
    return Target(tensorrt_version(), gpu.name, gpu.compute_capability)


def dry_run_target() -> Target:
    """This machine's TensorRT, without a GPU.

    Raises:
        TensorRtError: it has no TensorRT.
    """
    return Target(tensorrt_version(), None, None)
