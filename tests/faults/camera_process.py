"""A network camera, a process of its own that can be killed, stopped and replaced: RTSP with H.264 on /live.

    python camera_process.py PORT FOLDER

It plays FOLDER/big.h264 round and round in real time, as it was encoded. On its standard input it takes orders, one a
line: "big" or "small" (the clip, from its next picture on), or a number (pictures a second). FOLDER/made counts the
pictures since the camera was made, whether or not somebody watched. "ready" says that the port is open.
"""

from __future__ import annotations

import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

from edge.video.gi import GLib, Gst, GstRtspServer

CAPS = "video/x-h264,stream-format=byte-stream,alignment=au"
FPS = 25.0


def pictures(clip: Path) -> list[bytes]:
    """The access units of an H.264 file."""
    launch = f"filesrc name=file ! h264parse ! {CAPS} ! appsink name=sink sync=false"
    pipeline = Gst.parse_launch(launch)
    pipeline.get_by_name("file").set_property("location", str(clip))
    pipeline.set_state(Gst.State.PLAYING)
    sink, found = pipeline.get_by_name("sink"), []
    while sample := sink.pull_sample():
        buffer = sample.get_buffer()
        found.append(buffer.extract_dup(0, buffer.get_size()))
    pipeline.set_state(Gst.State.NULL)
    return found


class Camera:
    """Shows one picture after the other to whoever watches."""

    def __init__(self, folder: Path) -> None:
        self._clips = {name: pictures(folder / f"{name}.h264") for name in ("big", "small")}
        self._clip, self._next, self._interval_s = "big", 0, 1 / FPS
        self._made_file = folder / "made"
        self._made = struct.unpack("<Q", self._made_file.read_bytes())[0] if self._made_file.exists() else 0
        self._appsrc: Any = None
        self.factory = GstRtspServer.RTSPMediaFactory()
        self.factory.set_launch(
            f"( appsrc name=pictures is-live=true format=time caps={CAPS} ! rtph264pay name=pay0 )"
        )
        self.factory.set_shared(True)
        self.factory.connect("media-configure", self._on_configure)

    def obey(self, order: str) -> None:
        """Take an order from standard input."""
        if order in self._clips:
            self._clip, self._next = order, 0
        else:
            self._interval_s = 1 / float(order)

    def play(self) -> None:
        """For ever."""
        with self._made_file.open("r+b" if self._made_file.exists() else "w+b", buffering=0) as made:
            due_s = time.monotonic()
            while True:
                due_s = max(due_s + self._interval_s, time.monotonic() - 1)  # after SIGSTOP nothing is made up for
                time.sleep(max(0, due_s - time.monotonic()))
                self._show()
                self._made += 1
                made.seek(0)
                made.write(struct.pack("<Q", self._made))

    def _show(self) -> None:
        clip = self._clips[self._clip]
        if self._appsrc is not None:
            self._appsrc.emit("push-buffer", Gst.Buffer.new_wrapped(clip[self._next]))
        self._next = (self._next + 1) % len(clip)

    def _on_configure(self, _factory: Any, media: Any) -> None:
        self._appsrc = media.get_element().get_by_name("pictures")
        self._appsrc.set_property("do-timestamp", True)
        media.connect("unprepared", self._on_unprepared)

    def _on_unprepared(self, _media: Any) -> None:
        self._appsrc = None


def main(port: str, folder: str) -> None:
    camera = Camera(Path(folder))
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/live", camera.factory)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    threading.Thread(target=GLib.MainLoop().run, daemon=True).start()
    threading.Thread(target=camera.play, daemon=True).start()
    print("ready", flush=True)
    for order in sys.stdin:
        camera.obey(order.strip())


if __name__ == "__main__":
    main(*sys.argv[1:])
