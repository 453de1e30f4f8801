"""GStreamer's Python bindings, wrapped once: versions checked, initialised, and a message that says what to install.

Everybody else writes `from edge.video.gi import Gst`. Importing this module raises TapetumError where GStreamer or
its bindings are missing or too old.
"""

from __future__ import annotations

import ctypes
import warnings

from edge.errors import TapetumError

MINIMUM_VERSION = (1, 20)  # the first with appsrc's leaky-type and max-buffers
PACKAGES = (
    "python3-gi python3-gst-1.0 gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gst-rtsp-server-1.0 "
    "gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly "
    "gstreamer1.0-libav"
)

__all__ = ["GLib", "Gst", "GstApp", "GstRtsp", "GstRtspServer", "GstVideo", "has_element"]


# GStreamer brings libunwind, whose symbols would replace the compiler's own unwinder in every library that is loaded
# later, and a C++ exception inside one of those (the CPU runtime's) would then end the process. The first one wins.
ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)


def _missing(what: str) -> TapetumError:
    return TapetumError(f"{what}: install it with: apt install {PACKAGES}")


try:
    with warnings.catch_warnings():
        # PyGObject before 3.44 has an import hook of a kind that Python 3.11 warns about.
        warnings.simplefilter("ignore", ImportWarning)
        import gi

        for _namespace in ("Gst", "GstApp", "GstVideo", "GstRtsp", "GstRtspServer"):
            gi.require_version(_namespace, "1.0")
        from gi.repository import GLib, Gst, GstApp, GstRtsp, GstRtspServer, GstVideo
except (ImportError, ValueError) as error:
    raise _missing(f"GStreamer's Python bindings are not complete ({error})") from error

Gst.init(None)

if Gst.version()[:2] < MINIMUM_VERSION:
    raise TapetumError(
        f"{Gst.version_string()} is too old: Tapetum needs {'.'.join(map(str, MINIMUM_VERSION))} or later "
        "(Debian 12, Ubuntu 22.04, JetPack 6)"
    )
if not hasattr(getattr(Gst, "MapInfo", None), "__enter__"):
    # Without these overrides Buffer.map() copies, and cannot write.
    raise _missing("python3-gst-1.0 is missing")


def has_element(name: str) -> bool:
    """Whether GStreamer has an element of this name, e.g. "x264enc"."""
    return Gst.ElementFactory.find(name) is not None
