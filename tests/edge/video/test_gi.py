"""The wrapper round GStreamer's bindings says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edge.video.gi import has_element

IMPORT = """
from edge.errors import TapetumError
try:
    import edge.video.gi
except TapetumError as error:
    print(error)
"""
WITHOUT_GI = "import sys; sys.modules['gi'] = None"
# PyGObject warns when a repository is imported without asking for a version; that is not the point here.
OVERRIDE = "import warnings; warnings.simplefilter('ignore'); import gi; from gi.repository import Gst; "
WITHOUT_OVERRIDES = OVERRIDE + "Gst.init(None); del Gst.MapInfo.__enter__"
TOO_OLD = OVERRIDE + "Gst.init(None); Gst.version = lambda: (1, 18, 4, 0)"


def say(preparation: str) -> str:
    command = [sys.executable, "-c", preparation + "\n" + IMPORT]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("preparation", "words"),
    [
        (WITHOUT_GI, ["bindings", "apt install", "python3-gi", "gir1.2-gst-rtsp-server-1.0"]),
        (WITHOUT_OVERRIDES, ["python3-gst-1.0 is missing", "apt install"]),
        (TOO_OLD, ["too old", "1.20"]),
    ],
)
def test_what_is_missing_is_named_in_one_line(preparation, words):
    message = say(preparation)
    assert [word for word in words if word not in message] == []
    assert message.count("\n") == 1


def test_has_element():
    assert has_element("x264enc")
    assert not has_element("no-such-element")
