"""GStreamer's Python bindings, wrapped once: versions checked, initialised, and a message that says what to install.

Everybody else writes `from edge.video.gi import Gst`. Importing this module raises TapetumError where GStreamer or
its bindings are missing or too old.
"""

from __future__ import annotations

import ctypes
import logging
import os
import warnings

from edge.errors import TapetumError, one_line

log = logging.getLogger(__name__)

MINIMUM_VERSION = (1, 20)  # the first with appsrc's leaky-type and max-buffers
PACKAGES = (
    "python3-gi python3-gst-1.0 gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gst-rtsp-server-1.0 "
    "gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly "
    "gstreamer1.0-libav"
)

__all__ = ["GLib", "Gio", "Gst", "GstApp", "GstRtsp", "GstRtspServer", "GstVideo", "has_element"]


# GStreamer brings libunwind, whose symbols would replace the compiler's own unwinder in every library that is loaded
# later, and a C++ exception inside one of those (the CPU runtime's) would then end the process. The first one wins.
ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)


# GnuTLS, by which GLib speaks TLS, would still take TLS 1.0. Read once, when the first connection is made.
os.environ.setdefault("G_TLS_GNUTLS_PRIORITY", "NORMAL:%COMPAT:-VERS-TLS1.0:-VERS-TLS1.1")


def _missing(what: str) -> TapetumError:
    return TapetumError(f"{what}: install it with: apt install {PACKAGES}")


try:
    with warnings.catch_warnings():
        # PyGObject before 3.44 has an import hook of a kind that Python 3.11 warns about.
        warnings.simplefilter("ignore", ImportWarning)
        import gi

        for _namespace in ("Gst", "GstApp", "GstVideo", "GstRtsp", "GstRtspServer"):
            gi.require_version(_namespace, "1.0")
        from gi.repository import Gio, GLib, Gst, GstApp, GstRtsp, GstRtspServer, GstVideo
except (ImportError, ValueError) as error:
    raise _missing(f"GStreamer's Python bindings are not complete ({error})") from error

Gst.init(None)


def _log_rtsp(_domain: bytes, _level: int, message: bytes, _: object) -> None:
    log.debug("RTSP: %s", one_line(message.decode(errors="replace")))


# GStreamer's parser of RTSP repeats on stderr what it does not understand: anybody could fill the journal. By ctypes,
# as PyGObject takes every text for UTF-8.
_LOG_RTSP = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(_log_rtsp)
ctypes.CDLL("libglib-2.0.so.0").g_log_set_handler(
    b"GStreamer-RTSP", int(GLib.LogLevelFlags.LEVEL_MASK), _LOG_RTSP, None
)

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
