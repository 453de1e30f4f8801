"""A source of frames that heals: one supervised pipeline, rebuilt whenever it fails or falls silent."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from edge.config import read_secret
from edge.errors import InputError
from edge.sections import SourceConfig
from edge.types import Frame, Instant, SourceState, SourceStatus
from edge.video import build, launch, tls
from edge.video.capture import Capture, Picture, StreamBrokenError, StreamEndedError
from edge.video.timeline import Timeline

log = logging.getLogger(__name__)

POLL_MS = 100
FIRST_FRAME_S = 5.0  # connecting, and waiting for a key frame, take longer than a frame does
BACKOFF_S = (0.5, 5.0)  # the first pause before a rebuild, doubled up to the second
SETTLED_FRAMES = 10  # so many frames make a rebuilt source good again
STOP_S = 2.0  # a driver that hangs must not keep the service from stopping


class StreamStalledError(Exception):
    """No frame for too long. `str(error)` says for how long."""


class Source:
    """Delivers the frames of a camera or clip, newest first, from a thread of its own.

    A camera that fails, ends or falls silent is LOST and built anew, for ever, with a growing pause. A clip that
    cannot be played is FAILED, one that has been played is ENDED; then only `restart` starts it again.
    `deliver` and `on_status` are called in the source's thread: `deliver` for each frame, `on_status` whenever state
    or detail change.

    Raises:
        InputError: the clip is missing.
        ConfigError: the file of the password or of the camera's authorities cannot be used.
        TapetumError: GStreamer lacks an element that this kind of source needs.
    """

    def __init__(
        self,
        config: SourceConfig,
        deliver: Callable[[Frame], None],
        on_status: Callable[[SourceStatus], None] | None = None,
    ) -> None:
        if config.kind == "file":
            _require_clip(Path(config.path))
        password = read_secret(config.password_file) if config.password_file else ""
        self._chain = launch.source(config, password)
        build.require(self._chain)
        if config.ca_file:
            tls.authorities(config.ca_file)
        self._config = config
        self._loops = config.kind == "file" and config.loop
        self._name = _name(config)
        self._deliver = deliver
        self._on_status = on_status
        self._status = SourceStatus()
        self._timeline = Timeline()
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)
        self.fault: BaseException | None = None  # an error that nobody foresaw; it has ended the thread
        self.beat_ns = time.monotonic_ns()  # its pulse: a driver that hangs stops it, a silent camera does not

    @property
    def status(self) -> SourceStatus:
        """How the source is now; from any thread."""
        return self._status

    def start(self) -> None:
        """Begin to deliver. A source is started once."""
        self._thread.start()

    def restart(self) -> None:
        """Build the pipeline anew now, whatever its state."""
        self._wake.set()

    def stop(self) -> None:
        """End the delivery, within two seconds even where the camera hangs."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        if self._thread.is_alive():
            log.warning("the camera does not let go; it is left behind")

    def __enter__(self) -> Source:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self._supervise()
        except BaseException as error:  # app.py sees it and ends the service
            self.fault = error

    def _supervise(self) -> None:
        pause_s = BACKOFF_S[0]
        while True:
            frames_before = self._status.frames
            state, detail = self._run_once()
            if self._stopping:
                return
            self._change(state, detail)
            if self._status.frames - frames_before >= SETTLED_FRAMES:
                pause_s = BACKOFF_S[0]
            self._rest(state, pause_s)
            if self._stopping:
                return
            pause_s = min(2 * pause_s, BACKOFF_S[1])
            self._status = replace(self._status, rebuilds=self._status.rebuilds + 1)

    def _rest(self, state: SourceState, pause_s: float) -> None:
        """Wait before the next build: a moment where the source is lost, till called where it cannot go on."""
        self.beat_ns = time.monotonic_ns()
        if state is not SourceState.STARTING:
            self._wake.wait(pause_s if state is SourceState.LOST else None)
        self._wake.clear()

    def _run_once(self) -> tuple[SourceState, str]:
        """Play until the stream is over, fails, stalls, or somebody calls; say how the source is then."""
        is_clip = self._config.kind == "file"
        frames_before = self._status.frames
        try:
            self._play()
        except StreamEndedError as error:
            return (SourceState.ENDED if is_clip else SourceState.LOST), f"{self._name}: {error}"
        except StreamBrokenError as error:
            return (SourceState.FAILED if is_clip else SourceState.LOST), f"{self._name}: {error}"
        except StreamStalledError as error:
            # decodebin swallows the error of some broken clips, and then nothing ever comes.
            is_broken = is_clip and self._status.frames == frames_before
            return (SourceState.FAILED if is_broken else SourceState.LOST), f"{self._name}: {error}"
        return SourceState.STARTING, ""

    def _play(self) -> None:
        """One pipeline; for a clip that loops, one after the other where winding back does not do."""
        while not self._wake.is_set():
            frames_before = self._status.frames
            try:
                with Capture(self._chain, loop=self._loops) as capture:
                    self._pump(capture)
            except (StreamEndedError, StreamStalledError):
                # Some kinds of file (.jpg, .mjpeg) cannot be wound back, others (.gif) never say that they are over.
                if not self._loops or self._status.frames == frames_before:
                    raise

    def _pump(self, capture: Capture) -> None:
        patience_s = max(self._config.stall_s, FIRST_FRAME_S)
        heard_s = time.monotonic()
        while not self._wake.is_set():
            self.beat_ns = time.monotonic_ns()
            picture = capture.pull(POLL_MS)
            if picture is not None:
                self._hand_on(picture)
                patience_s = self._config.stall_s
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > patience_s:
                raise StreamStalledError(f"no frame for {patience_s:g} s")

    def _hand_on(self, picture: Picture) -> None:
        now = Instant.now()
        pts_ns = self._timeline.join(picture.pts_ns)
        frame = Frame(self._status.frames, pts_ns, now, picture.luma, picture.chroma_spread)
        self._status = replace(
            self._status, frames=frame.seq + 1, last_frame_at=now, size=(frame.width, frame.height)
        )
        self._change(SourceState.LIVE, "")
        self._deliver(frame)

    def _change(self, state: SourceState, detail: str) -> None:
        if (state, detail) == (self._status.state, self._status.detail):
            return
        self._status = replace(self._status, state=state, detail=detail)
        if self._on_status is not None:
            self._on_status(self._status)


def _name(config: SourceConfig) -> str:
    names = {
        "file": config.path,
        "rtsp": config.camera,
        "v4l2": config.device,
        "csi": f"CSI camera {config.sensor_id}",
        "test": "test picture",
    }
    return names[config.kind]


def _require_clip(clip: Path) -> None:
    if not clip.exists():
        raise InputError(f"{clip}: no such clip")
    if not clip.is_file():
        raise InputError(f"{clip}: not a file")
    if not os.access(clip, os.R_OK):
        raise InputError(f"{clip}: no permission to read it")
