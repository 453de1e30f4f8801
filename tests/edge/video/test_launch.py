"""Chains of elements as data, and what becomes of them."""

from __future__ import annotations

import pytest

from edge.errors import TapetumError
from edge.sections import SourceConfig
from edge.video import build, launch
from edge.video.gi import Gst, GstRtsp
from edge.video.launch import Element

SOURCES = [
    {"kind": "file", "path": "clip.mp4"},
    {"kind": "rtsp", "url": "rtsp://camera/live"},
    {"kind": "rtsp", "url": "rtsp://camera/live", "transport": "udp", "username": "me", "latency_ms": 7},
    {"kind": "v4l2"},
    {"kind": "v4l2", "width": 640, "height": 480, "fps": 30},
    {"kind": "test", "pattern": "snow", "width": 321, "height": 241, "fps": 7},
]


def factories(chain):
    return [element.factory for element in chain]


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_every_chain_can_be_built(source):
    chain = launch.source(SourceConfig(**source), "secret")
    build.require(chain)
    pipeline = Gst.Pipeline()
    elements = build.link(pipeline, chain)
    assert [element.get_factory().get_name() for element in elements] == factories(chain)
    pipeline.set_state(Gst.State.NULL)


def test_the_encoder_can_be_built():
    chain = launch.encoder(1234, jetson=False)
    encoder = build.link(Gst.Bin(), chain)[1]
    assert encoder.get_property("bitrate") == 1234
    assert encoder.get_property("tune").value_nicks == ["zerolatency"]


def test_values_of_the_configuration_are_only_values_of_properties():
    path = 'x.mp4 ! fakesink name="y"'
    chain = launch.source(SourceConfig(kind="file", path=path))
    assert chain[0] == Element("filesrc", {"location": path})
    assert build.link(Gst.Pipeline(), chain)[0].get_property("location") == path


def test_a_login_goes_into_its_own_properties():
    config = SourceConfig(kind="rtsp", url="rtsp://camera/live", username="me", transport="udp", latency_ms=7)
    camera = build.link(Gst.Pipeline(), launch.source(config, 'p@ss"word'))[0]
    assert camera.get_property("location") == "rtsp://camera/live"
    assert (camera.get_property("user-id"), camera.get_property("user-pw")) == ("me", 'p@ss"word')
    assert camera.get_property("protocols") == GstRtsp.RTSPLowerTrans.UDP
    assert camera.get_property("latency") == 7


def test_a_v4l2_camera_is_asked_for_the_size_and_may_give_another():
    chain = launch.source(SourceConfig(kind="v4l2", width=640, height=480))
    caps = Gst.Caps.from_string(chain[1].properties["caps"])
    wanted = [(caps[i].get_name(), caps[i].has_field("width")) for i in range(caps.get_size())]
    assert wanted == [("video/x-raw", True), ("image/jpeg", True), ("video/x-raw", False), ("image/jpeg", False)]
    assert "videoscale" in factories(chain)


def test_only_a_clip_is_held_to_its_own_pace():
    def sync(**source):
        return launch.source(SourceConfig(**source))[-1].properties["sync"]

    assert sync(kind="file", path="x")
    assert not sync(kind="rtsp", url="rtsp://x")


def test_a_jetson_uses_its_own_elements():
    assert "nvv4l2h264enc" in factories(launch.encoder(2000, jetson=True))
    assert factories(launch.source(SourceConfig(kind="csi")))[0] == "nvarguscamerasrc"


def test_optional_properties_are_set_where_the_element_has_them():
    element = Element("identity", {"name": "i"}, optional={"silent": False, "maxperf-enable": True})
    (made,) = build.link(Gst.Bin(), (element,))
    assert made.get_property("silent") is False


def test_a_missing_element_is_named_with_its_package():
    with pytest.raises(TapetumError, match=r"nvv4l2h264enc.*JetPack|nvvidconv.*JetPack"):
        build.require(launch.encoder(2000, jetson=True))
    with pytest.raises(TapetumError, match="no-such-element"):
        build.require((Element("no-such-element"),))
