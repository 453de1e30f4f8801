"""From elements as data (launch.py) to GStreamer elements, linked."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from edge.errors import TapetumError
from edge.video import tls
from edge.video.gi import Gio, GLib, Gst, has_element
from edge.video.launch import Chain, Element, Value

_JETSON = "NVIDIA's GStreamer plugins, which come with JetPack on a Jetson only"
_PACKAGES = {
    "x264enc": "gstreamer1.0-plugins-ugly",
    "h264parse": "gstreamer1.0-plugins-bad",
    "rtspsrc": "gstreamer1.0-plugins-good",
    "rtph264pay": "gstreamer1.0-plugins-good",
    "v4l2src": "gstreamer1.0-plugins-good",
    "nvarguscamerasrc": _JETSON,
    "nvvidconv": _JETSON,
    "nvv4l2h264enc": _JETSON,
}


def require(chain: Chain) -> None:
    """Check that GStreamer has every element of a chain.

    Raises:
        TapetumError: one is missing; the message names its package.
    """
    for element in chain:
        if not has_element(element.factory):
            package = _PACKAGES.get(element.factory, "gstreamer1.0-plugins-base")
            raise TapetumError(f"GStreamer has no element {element.factory}: it is part of {package}")


def link(container: Any, chain: Chain) -> list[Any]:
    """Make the elements of a chain in a Gst.Bin, link them in their order, and return them."""
    elements = [_make(element) for element in chain]
    for element in elements:
        container.add(element)
    for upstream, downstream in pairwise(elements):
        _link(upstream, downstream)
    return elements


def _make(element: Element) -> Any:
    made = Gst.ElementFactory.make(element.factory, None)
    for name, value in element.properties.items():
        _set(made, name, value)
    for name, value in element.optional.items():
        if made.find_property(name) is not None:
            _set(made, name, value)
    return made


def _set(element: Any, name: str, value: Value) -> None:
    kind = element.find_property(name).value_type
    if kind.is_a(Gst.Caps):
        element.set_property(name, Gst.Caps.from_string(value))
    elif kind.is_a(Gio.TlsDatabase):
        element.set_property(name, tls.authorities(str(value)))
    elif isinstance(value, str) and kind.fundamental.name in ("GEnum", "GFlags"):
        Gst.util_set_object_arg(element, name, value)
    else:
        element.set_property(name, value)


def _link(upstream: Any, downstream: Any) -> None:
    """Link two elements, now or, where the upstream one finds its streams later, when its video pad appears."""
    if upstream.get_static_pad("src") is not None:
        if not upstream.link(downstream):
            raise RuntimeError(f"{upstream.name} does not link to {downstream.name}")
        return
    if upstream.get_factory().get_name() == "rtspsrc":
        upstream.connect("select-stream", _is_video_stream)
        upstream.connect("accept-certificate", _accept_none)
    upstream.connect("pad-added", _link_video, downstream.get_static_pad("sink"))


def _is_video_stream(_rtspsrc: Any, _number: int, caps: Any) -> bool:
    return bool(caps.get_structure(0).get_string("media") == "video")


def _accept_none(rtspsrc: Any, _connection: Any, _certificate: Any, faults: Any) -> bool:
    """A camera's certificate did not pass. GStreamer would only say that it failed to connect."""
    why = ", ".join(nick for nick in faults.value_nicks if nick != "no-flags")
    text = f"the camera's certificate is not trusted ({why}): check source.url and source.ca_file"
    _complain(rtspsrc, GLib.Error.new_literal(Gst.resource_error_quark(), text, Gst.ResourceError.NOT_AUTHORIZED))
    return False


def _link_video(upstream: Any, pad: Any, sink_pad: Any) -> None:
    """Link the first video pad; where it does not fit, the bus is told, for nobody hears an exception in a signal."""
    if sink_pad.is_linked():
        return
    if pad.link_full(sink_pad, Gst.PadLinkCheck.DEFAULT) != Gst.PadLinkReturn.OK:  # link() would raise
        text = f"no video that can be used here: {pad.query_caps(None).to_string()}"
        _complain(upstream, GLib.Error.new_literal(Gst.stream_error_quark(), text, Gst.StreamError.WRONG_TYPE))


def _complain(element: Any, error: Any) -> None:
    element.post_message(Gst.Message.new_error(element, error, ""))
