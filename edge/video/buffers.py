"""Pictures between GStreamer's buffers and numpy, always copied: a mapped buffer must not outlive its mapping."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.types import UInt8Array
from edge.video import nv12 as yuv
from edge.video.gi import Gst, GstVideo

PLACES = 24  # along each side of the picture where its chroma is looked at


def luma_of(sample: Any) -> UInt8Array:
    """The luma of a raw sample in one of `launch.LUMA_FORMATS`: uint8[H, W], full range, C-contiguous.

    Rows are padded, so strides and offsets are honoured. Limited-range video is stretched to 0..255; GRAY8 is taken
    as it is, for that is what a monochrome sensor gives (GStreamer would call it limited).
    """
    caps, buffer = sample.get_caps(), sample.get_buffer()
    layout = GstVideo.VideoInfo.new_from_caps(caps)
    meta = GstVideo.buffer_get_video_meta(buffer) or layout
    with buffer.map(Gst.MapFlags.READ) as mapped:
        view: UInt8Array = np.ndarray(
            (layout.height, layout.width), np.uint8, mapped.data, meta.offset[0], (meta.stride[0], 1)
        )
        return yuv.to_full_range(view) if _is_limited(caps.get_structure(0)) else view.copy()


def chroma_spread_of(sample: Any) -> float | None:
    """How colourful a raw sample is: the standard deviation of its chroma in levels; None for GRAY8.

    Read from a few hundred places of the picture, which takes microseconds.
    """
    caps, buffer = sample.get_caps(), sample.get_buffer()
    layout = GstVideo.VideoInfo.new_from_caps(caps)
    if layout.finfo.n_components < 3:
        return None
    meta = GstVideo.buffer_get_video_meta(buffer) or layout
    with buffer.map(Gst.MapFlags.READ) as mapped:
        planes = (_places(layout, meta, mapped.data, component) for component in (1, 2))
        return float(np.hypot(*(plane.std() for plane in planes)))


def _places(layout: Any, meta: Any, data: Any, component: int) -> UInt8Array:
    """Some of one component's values, uint8[<= PLACES, <= PLACES]; other than luma they may lie interleaved."""
    info = layout.finfo
    plane, step = info.plane[component], info.pixel_stride[component]
    height, width = (
        -(-size >> sub[component]) for size, sub in ((layout.height, info.h_sub), (layout.width, info.w_sub))
    )
    offset = meta.offset[plane] + info.poffset[component]
    values: UInt8Array = np.ndarray((height, width), np.uint8, data, offset, (meta.stride[plane], step))
    return values[:: max(1, height // PLACES), :: max(1, width // PLACES)]


def _is_limited(structure: Any) -> bool:
    """Whether luma is 16..235. Read from the caps' text, range:matrix:transfer:primaries with 1 for full range:
    VideoInfo forgets the range where a stream does not state its matrix."""
    if structure.get_string("format") == "GRAY8":
        return False
    return not (structure.get_string("colorimetry") or "").startswith("1:")


def nv12_caps(nv12: UInt8Array) -> Any:
    """Caps for `nv12`. The rate is nominal: without one, x264 holds each picture back until the next has come."""
    rows, width = nv12.shape
    return Gst.Caps.from_string(
        f"video/x-raw,format=NV12,width={width},height={rows * 2 // 3},framerate=25/1,colorimetry=bt601"
    )


def nv12_buffer(nv12: UInt8Array, caps: Any) -> Any:
    """A new buffer with a copy of `nv12`, laid out as GStreamer lays out `caps`."""
    layout = GstVideo.VideoInfo.new_from_caps(caps)
    buffer = Gst.Buffer.new_allocate(None, layout.size, None)
    height, width = layout.height, layout.width
    with buffer.map(Gst.MapFlags.WRITE) as mapped:
        for plane, rows in enumerate((nv12[:height], nv12[height:])):
            stride, offset = layout.stride[plane], layout.offset[plane]
            np.ndarray((len(rows), width), np.uint8, mapped.data, offset, (stride, 1))[:] = rows
    return buffer
