"""One picture stream of the RTSP server: a shared encoder that lives only while somebody watches."""

from __future__ import annotations

import threading
from typing import Any

from edge.types import UInt8Array
from edge.video import build
from edge.video.buffers import nv12_buffer, nv12_caps
from edge.video.gi import Gst, GstRtsp, GstRtspServer
from edge.video.launch import Chain


class Mount:
    """Takes pictures from one thread and encodes them for all viewers of one RTSP path.

    The newest picture is kept, so that the first viewer is answered at once and not with the next picture.
    """

    def __init__(self, chain: Chain) -> None:
        self.factory = _Factory(chain)
        self.factory.set_shared(True)
        self.factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP | GstRtsp.RTSPLowerTrans.UDP)
        self.factory.connect("media-configure", self._on_configure)
        self._lock = threading.Lock()
        self._newest: UInt8Array | None = None
        self._appsrc: Any = None

    @property
    def watched(self) -> bool:
        """Whether an encoder runs."""
        return self._appsrc is not None

    def push(self, nv12: UInt8Array) -> None:
        """Show a picture, uint8[H * 3 // 2, W]; it must not be changed afterwards. Never waits."""
        with self._lock:
            self._newest = nv12
            if self._appsrc is not None:
                _send(self._appsrc, nv12)

    def _on_configure(self, _factory: Any, media: Any) -> None:
        """A new media is about to start, for the first viewer."""
        appsrc = media.get_element().get_by_name("frames")
        appsrc.connect("need-data", self._on_first_need)
        media.connect("unprepared", self._on_unprepared, appsrc)
        with self._lock:
            self._appsrc = appsrc

    def _on_first_need(self, appsrc: Any, _bytes: int) -> None:
        appsrc.disconnect_by_func(self._on_first_need)
        with self._lock:
            if self._newest is not None:
                _send(appsrc, self._newest)

    def _on_unprepared(self, _media: Any, appsrc: Any) -> None:
        with self._lock:
            if self._appsrc is appsrc:
                self._appsrc = None


class _Factory(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]  # gi has no types
    """Builds the encoder from elements, where the stock factory would parse a description."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self._chain = chain

    def do_create_element(self, _url: Any) -> Any:
        encoder = Gst.Bin()
        build.link(encoder, self._chain)
        return encoder


def _send(appsrc: Any, nv12: UInt8Array) -> None:
    """appsrc notices other caps by itself, and keeps them in order with the pictures in its queue."""
    caps = nv12_caps(nv12)
    appsrc.push_sample(Gst.Sample.new(nv12_buffer(nv12, caps), caps, None, None))
