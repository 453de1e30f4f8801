"""One run of a source's pipeline, from PLAYING to NULL."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, NamedTuple

from edge.types import UInt8Array
from edge.video import build
from edge.video.buffers import chroma_spread_of, luma_of
from edge.video.gi import Gst, GstApp  # noqa: F401  GstApp gives the appsink its methods
from edge.video.launch import Chain

_CHROMA_EVERY = 25  # pictures: whether a camera sends colours changes at dusk and dawn
_SHORTEST_PASS_NS = 40_000_000  # a clip of one picture without a duration would loop without a pause


class StreamEndedError(Exception):
    """The stream is over. `str(error)` says how."""


class StreamBrokenError(Exception):
    """GStreamer gave up. `str(error)` is one line that says why."""


class Picture(NamedTuple):
    """A decoded picture: the stream's own time, luma uint8[H, W], and the spread of its chroma, if it has any."""

    pts_ns: int
    luma: UInt8Array
    chroma_spread: float | None


class Capture:
    """A playing pipeline. With `loop`, the end of a clip seeks to its start, which takes a few milliseconds."""

    def __init__(self, chain: Chain, *, loop: bool = False) -> None:
        self._loop = loop
        self._chroma_spread: float | None = None
        self._pipeline = Gst.Pipeline()
        self._head, *_, self._sink = build.link(self._pipeline, chain)
        self._bus = self._pipeline.get_bus()

    def __enter__(self) -> Capture:
        self._begin_pass()
        self._pipeline.set_state(Gst.State.PLAYING)  # a failure comes as a message on the bus
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipeline.set_state(Gst.State.NULL)

    def pull(self, timeout_ms: int) -> Picture | None:
        """The newest picture; None when none came in time.

        Raises:
            StreamEndedError: there will be no more.
            StreamBrokenError: something in the pipeline failed.
        """
        sample = self._sink.try_pull_sample(timeout_ms * Gst.MSECOND)
        if sample is not None:
            self._pictures_in_pass += 1
            if self._pictures_in_pass % _CHROMA_EVERY == 1:
                self._chroma_spread = chroma_spread_of(sample)
            return Picture(self._pts_ns(sample.get_buffer()), luma_of(sample), self._chroma_spread)
        self._check_bus()
        return None

    @property
    def encoding(self) -> str:
        """How the source gives its video, known with the first picture: "H264", "image/jpeg", or "" for unknown."""
        caps = [caps for pad in self._head.pads if (caps := pad.get_current_caps())]
        structures = [each.get_structure(0) for each in caps]
        names = (each.get_string("encoding-name") or each.get_name() for each in structures)
        return next((name for name in names if name != "application/octet-stream"), "")

    def _begin_pass(self) -> None:
        self._pictures_in_pass = 0
        self._pass_began_ns = time.monotonic_ns()

    def _pts_ns(self, buffer: Any) -> int:
        if buffer.pts != Gst.CLOCK_TIME_NONE:
            return int(buffer.pts)
        return time.monotonic_ns() - self._pass_began_ns

    def _check_bus(self) -> None:
        # The short wait keeps a pipeline that gives nothing at all from being asked without a pause.
        message = self._bus.timed_pop_filtered(10 * Gst.MSECOND, Gst.MessageType.ERROR | Gst.MessageType.EOS)
        if message is None:
            return
        if message.type == Gst.MessageType.ERROR:
            raise StreamBrokenError(_explain(message))
        if not self._pictures_in_pass:
            raise StreamBrokenError("the stream ended without a picture")
        if not (self._loop and self._rewind()):
            raise StreamEndedError("the stream ended")

    def _rewind(self) -> bool:
        if time.monotonic_ns() - self._pass_began_ns < _SHORTEST_PASS_NS:
            time.sleep(_SHORTEST_PASS_NS / 1e9)
        self._begin_pass()
        flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT
        return bool(self._pipeline.seek_simple(Gst.Format.TIME, flags, 0))


def _explain(message: Any) -> str:
    """What GStreamer says in general, and in brackets what the element says in particular, if anything."""
    error, debug = message.parse_error()
    lines = (debug or "").splitlines()[1:]  # the first names a place in GStreamer's own source
    particular = lines[-1].strip().removesuffix(" (Generic error)") if lines else ""
    if error.matches(Gst.core_error_quark(), Gst.CoreError.MISSING_PLUGIN):
        # "Missing decoder: MPEG-4 AAC (audio/mpeg, ..." comes of a clip with nothing but sound, too.
        return f"no video that can be decoded here ({particular.partition(' (')[0]})"
    general = error.message.rstrip(".")
    return f"{general} ({particular})" if particular else general
