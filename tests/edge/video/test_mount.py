"""What a mount does while its encoder starts, step by step."""

from __future__ import annotations

import time

import numpy as np

from edge.video import launch
from edge.video.gi import Gst, GstRtsp
from edge.video.mount import Mount
from edge.video.nv12 import from_luma
from tests.waiting import until


def test_pictures_get_the_time_of_the_stream_even_while_it_starts():
    """Between PAUSED and PLAYING there is a clock without a base time: stamps would be the machine's uptime."""
    mount = Mount(launch.encoder(1000, jetson=False))
    stamps_ns = []

    def note(_pad, info):
        stamps_ns.append(info.get_buffer().pts)
        return Gst.PadProbeReturn.DROP

    began_s = time.monotonic()
    _, url = GstRtsp.RTSPUrl.parse("rtsp://127.0.0.1/colour")
    media = mount.factory.construct(url)
    encoder = media.get_element()
    encoder.get_by_name("frames").get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, note)
    clock = Gst.SystemClock.obtain()
    encoder.set_clock(clock)
    encoder.set_state(Gst.State.PAUSED)
    mount.push(from_luma(np.zeros((4, 4), np.uint8)))
    encoder.set_base_time(clock.get_time())
    encoder.set_state(Gst.State.PLAYING)

    def sees_pictures():
        mount.push(from_luma(np.zeros((4, 4), np.uint8)))
        return len(stamps_ns) >= 3

    until(sees_pictures)
    encoder.set_state(Gst.State.NULL)
    assert max(stamps_ns) < (time.monotonic() - began_s) * 1e9
