"""One picture stream of the RTSP server: a shared encoder that lives only while somebody watches."""

from __future__ import annotations

import threading
from typing import Any

from edge.types import UInt8Array
from edge.video import build, launch
from edge.video.buffers import nv12_buffer, nv12_caps
from edge.video.card import no_signal_card
from edge.video.gi import Gst, GstRtsp, GstRtspServer
from edge.video.launch import Chain

FIRST_PICTURE_S = 1.0


class Mount:
    """Takes pictures from one thread and encodes them for all viewers of one RTSP path.

    Viewers are answered only when there is a picture to encode. The next one serves best, but the newest is kept for
    those who come while none come: GStreamer would keep them waiting for 20 s and then turn them away.
    """

    def __init__(self, chain: Chain) -> None:
        self.factory = _Factory(chain)
        self.factory.set_shared(True)
        self.factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP | GstRtsp.RTSPLowerTrans.UDP)
        self.factory.connect("media-configure", self._on_configure)
        self._lock = threading.Lock()
        self._newest = no_signal_card(None, "no picture yet", None)
        self._appsrc: Any = None
        self._encoder: Any = None
        self._is_fed = threading.Event()

    @property
    def watched(self) -> bool:
        """Whether an encoder runs."""
        return self._appsrc is not None

    def set_bitrate(self, chain: Chain) -> None:
        """Encode with the bitrate of this chain from now on, also for those who watch already."""
        with self._lock:
            self.factory.chain = chain
            self._tell_bitrate()

    def push(self, nv12: UInt8Array) -> None:
        """Show a picture, uint8[H * 3 // 2, W]; it must not be changed afterwards. Never waits."""
        with self._lock:
            self._newest = nv12
            if self._appsrc is not None and _is_playing(self._appsrc):
                self._feed()

    def _feed(self) -> None:
        """appsrc notices other caps by itself, and keeps them in order with the pictures in its queue."""
        caps = nv12_caps(self._newest)
        sample = Gst.Sample.new(nv12_buffer(self._newest, caps), caps, None, None)
        if self._appsrc.push_sample(sample) == Gst.FlowReturn.OK:
            self._is_fed.set()

    def _on_configure(self, _factory: Any, media: Any) -> None:
        """A new media is about to start, for the first viewer."""
        appsrc, encoder = (media.get_element().get_by_name(name) for name in ("frames", launch.ENCODER))
        appsrc.connect("need-data", self._on_first_need)
        media.connect("unprepared", self._on_unprepared, appsrc)
        with self._lock:
            self._is_fed.clear()
            self._appsrc, self._encoder = appsrc, encoder
            self._tell_bitrate()  # it may have changed since the encoder was made

    def _on_first_need(self, appsrc: Any, _bytes: int) -> None:
        """In the thread that takes pictures from the appsrc, which has nothing to do before the first one."""
        appsrc.disconnect_by_func(self._on_first_need)
        if self._is_fed.wait(FIRST_PICTURE_S):
            return
        with self._lock:
            if self._appsrc is appsrc:
                self._feed()

    def _tell_bitrate(self) -> None:
        if self._encoder is not None:
            self._encoder.set_property("bitrate", launch.bitrate(self.factory.chain))

    def _on_unprepared(self, _media: Any, appsrc: Any) -> None:
        with self._lock:
            if self._appsrc is appsrc:
                self._appsrc = self._encoder = None


class _Factory(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]  # gi has no types
    """Builds the encoder from elements, where the stock factory would parse a description."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.chain = chain
        self._medias_ended = 0
        self.connect("media-constructed", lambda _, media: media.connect("target-state", self._on_target_state))

    def do_create_element(self, _url: Any) -> Any:
        encoder = Gst.Bin()
        build.link(encoder, self.chain)
        return encoder

    def do_gen_key(self, _url: Any) -> str:
        """All viewers share the media of one key: not one that is about to end, which would turn them away (503)."""
        return str(self._medias_ended)

    def _on_target_state(self, _media: Any, state: int) -> None:
        self._medias_ended += state == Gst.State.NULL


def _is_playing(appsrc: Any) -> bool:
    """Whether the appsrc stamps pictures with the right time. Before it plays it has a clock but no base time: a
    picture would be stamped with the uptime of the machine, and viewers would wait as long for it."""
    return bool(appsrc.get_state(0)[1] == Gst.State.PLAYING)
