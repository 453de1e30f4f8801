"""The structs of `lab_merge.cu`, as ctypes sees them: what its kernels take, on a GPU and on a CPU alike."""

from __future__ import annotations

from ctypes import Structure, c_float, c_int, c_longlong, c_void_p
from typing import ClassVar

Fields = list[tuple[str, type]]


class Cells(Structure):
    """The chroma cells that cover the frame. See `Cells` in lab_merge.cu for each field."""

    _fields_: ClassVar[Fields] = [
        ("ab", c_void_p),
        ("residual", c_void_p),
        ("luma", c_void_p),
        ("width", c_int),
        ("height", c_int),
        ("half", c_int),
        ("guide_sigma", c_float),
    ]


class MergeParams(Structure):
    """One frame to merge: `MergeParams` in lab_merge.cu."""

    _fields_: ClassVar[Fields] = [
        ("cells", Cells),
        ("luma", c_void_p),
        ("y", c_void_p),
        ("cbcr", c_void_p),
        ("picture", c_void_p),
        ("luma_pitch", c_longlong),
        ("y_pitch", c_longlong),
        ("cbcr_pitch", c_longlong),
        ("picture_pitch", c_longlong),
        ("width", c_int),
        ("height", c_int),
        ("bt709", c_int),
        ("left", c_int),
        ("bgr", c_int),
        ("unused", c_int),
    ]


class FilterParams(Structure):
    """Chroma of two frames to average: `FilterParams` in lab_merge.cu."""

    _fields_: ClassVar[Fields] = [
        ("ab", c_void_p),
        ("previous_ab", c_void_p),
        ("luma", c_void_p),
        ("previous_luma", c_void_p),
        ("out", c_void_p),
        ("width", c_int),
        ("height", c_int),
        ("half", c_int),
        ("smoothing", c_float),
    ]


class CellLumaParams(Structure):
    """A frame whose cells' luma is wanted: `CellLumaParams` in lab_merge.cu."""

    _fields_: ClassVar[Fields] = [
        ("luma", c_void_p),
        ("out", c_void_p),
        ("luma_pitch", c_longlong),
        ("width", c_int),
        ("height", c_int),
        ("cells_width", c_int),
        ("cells_height", c_int),
    ]


class GreyParams(Structure):
    """Chroma that may not be finite: `GreyParams` in lab_merge.cu. GPU only."""

    _fields_: ClassVar[Fields] = [("ab", c_void_p), ("is_grey", c_void_p), ("values", c_int), ("unused", c_int)]


STRUCTS: tuple[type[Structure], ...] = (MergeParams, FilterParams, CellLumaParams)
