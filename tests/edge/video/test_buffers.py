"""Pictures into GStreamer's buffers and out again, at sizes with padded rows."""

from __future__ import annotations

import numpy as np
import pytest

from edge.video import nv12 as yuv
from edge.video.buffers import chroma_spread_of, luma_of, nv12_buffer, nv12_caps
from edge.video.gi import Gst, GstVideo


def sample(caps_text, content, stride=None):
    buffer = Gst.Buffer.new_wrapped(content)
    if stride:
        flags, gray = GstVideo.VideoFrameFlags.NONE, GstVideo.VideoFormat.GRAY8
        GstVideo.buffer_add_video_meta_full(buffer, flags, gray, 4, 2, 1, [0] * 4, [stride, 0, 0, 0])
    return Gst.Sample.new(buffer, Gst.Caps.from_string(caps_text), None, None)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (120, 160), (242, 322), (6, 10)])
def test_nv12_comes_back_as_it_went(height, width):
    luma = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    picture = yuv.from_luma(luma)
    caps = nv12_caps(picture)
    buffer = nv12_buffer(picture, caps)
    assert buffer.get_size() == GstVideo.VideoInfo.new_from_caps(caps).size
    back = luma_of(Gst.Sample.new(buffer, caps, None, None))
    assert np.abs(back.astype(int) - luma).max() <= 1


def test_chroma_lies_where_gstreamer_looks_for_it():
    picture = yuv.from_luma(np.zeros((4, 6), np.uint8))
    picture[4:] = np.arange(12).reshape(2, 6)
    caps = nv12_caps(picture)
    layout = GstVideo.VideoInfo.new_from_caps(caps)
    with nv12_buffer(picture, caps).map(Gst.MapFlags.READ) as mapped:
        content = bytes(mapped.data)
    rows = [content[layout.offset[1] + row * layout.stride[1] :][:6] for row in range(2)]
    assert [list(row) for row in rows] == picture[4:].tolist()


def test_padded_rows_are_cut():
    rows = np.arange(3 * 8, dtype=np.uint8).reshape(3, 8)  # 5 wide, rows of 8
    luma = luma_of(sample("video/x-raw,format=GRAY8,width=5,height=3", rows.tobytes()))
    assert np.array_equal(luma, rows[:, :5])
    assert luma.flags.c_contiguous


def test_a_buffer_that_states_its_own_stride_is_believed():
    rows = np.arange(2 * 16, dtype=np.uint8).reshape(2, 16)
    luma = luma_of(sample("video/x-raw,format=GRAY8,width=4,height=2", rows.tobytes(), stride=16))
    assert np.array_equal(luma, rows[:, :4])


@pytest.mark.parametrize(
    ("colorimetry", "expected"),
    [
        ("", [0, 255]),  # not stated: limited, as the standards say
        (",colorimetry=bt709", [0, 255]),
        (",colorimetry=2:0:0:0", [0, 255]),
        (",colorimetry=1:4:0:0", [16, 235]),
        (",colorimetry=1:0:0:0", [16, 235]),  # full range, matrix not stated
    ],
)
def test_the_stated_range_is_kept(colorimetry, expected):
    content = bytes([16, 235, 0, 0, 16, 235, 0, 0, 128, 0, 0, 0, 128, 0, 0, 0])
    luma = luma_of(sample("video/x-raw,format=I420,width=2,height=2" + colorimetry, content))
    assert luma.tolist() == [expected, expected]


def made(picture, size, chroma_format):
    """One sample of videotestsrc in a format."""
    width, height = size
    caps = f"video/x-raw,format={chroma_format},width={width},height={height}"
    pipeline = Gst.parse_launch(f"videotestsrc num-buffers=1 pattern={picture} ! {caps} ! appsink name=sink")
    pipeline.set_state(Gst.State.PLAYING)
    try:
        return pipeline.get_by_name("sink").emit("pull-sample")
    finally:
        pipeline.set_state(Gst.State.NULL)


@pytest.mark.parametrize("chroma_format", ["NV12", "NV21", "I420", "YV12", "Y42B", "NV16", "Y444"])
@pytest.mark.parametrize("size", [(322, 242), (6, 10), (1281, 719)])
def test_the_spread_of_chroma_tells_colour_from_grey_in_every_format(chroma_format, size):
    assert chroma_spread_of(made("smpte", size, chroma_format)) > 20
    assert chroma_spread_of(made("white", size, chroma_format)) == 0


def test_an_even_tint_is_not_colour():
    """An infrared lamp without its filter: everything is a little purple."""
    picture = yuv.from_luma(np.zeros((240, 320), np.uint8))
    picture[240:] = 140
    caps = nv12_caps(picture)
    assert chroma_spread_of(Gst.Sample.new(nv12_buffer(picture, caps), caps, None, None)) == 0


def test_grey_video_has_no_chroma():
    assert chroma_spread_of(made("smpte", (320, 240), "GRAY8")) is None
