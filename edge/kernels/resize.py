"""How `preprocess.cu` is launched on a GPU: squash and letterbox of `edge/vision/preprocess.py`."""

from __future__ import annotations

from ctypes import Structure, c_float, c_int, c_longlong, c_void_p
from pathlib import Path
from typing import ClassVar

from edge.kernels.launch import Launch, launch_over
from edge.kernels.parameters import Fields

SOURCE = Path(__file__).with_name("preprocess.cu")
KERNELS = ("tapetum_resize_area", "tapetum_resize_linear")
_BLOCK = (32, 4, 1)  # 128 threads: __launch_bounds__


class ResizeParams(Structure):
    """A frame to resize into a network's input: `ResizeParams` in preprocess.cu."""

    _fields_: ClassVar[Fields] = [
        ("luma", c_void_p),
        ("out", c_void_p),
        ("luma_pitch", c_longlong),
        ("width", c_int),
        ("height", c_int),
        ("inner_width", c_int),
        ("inner_height", c_int),
        ("out_width", c_int),
        ("out_height", c_int),
        ("scale", c_float),
        ("pad", c_float),
    ]


def resize_launch(params: ResizeParams) -> Launch:
    """Resize a frame. Its pointers are the GPU's; frames up to 8192x8192, results up to 32768 a side."""
    shrinks = params.inner_width <= params.width and params.inner_height <= params.height
    kernel = "tapetum_resize_area" if shrinks else "tapetum_resize_linear"
    return launch_over(kernel, (params.out_width, params.out_height), _BLOCK, params)
