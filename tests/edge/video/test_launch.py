"""Chains of elements as data, and what becomes of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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

ROOT = Path(__file__).parents[3]
PLAIN = {"kind": "test", "path": "clip.mp4", "url": "rtsp://camera/live"}


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


@pytest.mark.parametrize(("jetson", "expected"), [(False, 1234), (True, 1_234_000)])
def test_the_bitrate_is_in_the_unit_of_the_encoder(jetson, expected):
    assert launch.bitrate(launch.encoder(1234, jetson=jetson)) == expected


def test_values_of_the_configuration_are_only_values_of_properties():
    path = 'x.mp4 ! fakesink name="y"'
    chain = launch.source(SourceConfig(kind="file", path=path))
    assert chain[0] == Element("filesrc", {"location": path})
    assert build.link(Gst.Pipeline(), chain)[0].get_property("location") == path


# What the configuration lets pass: all but control characters. Much of it is GStreamer's own syntax.
HOSTILE = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.isprintable),
    st.lists(
        st.sampled_from(
            [
                "!",
                " ! ",
                "filesrc location=",
                "/etc/passwd",
                '"',
                "'",
                "\\",
                "name=x",
                "(",
                ")",
                ";",
                ",",
                "$(id)",
                "`id`",
            ]
        ),
        min_size=1,
    ).map("".join),
)


def described(elements):
    """What GStreamer itself says is there."""
    return [element.get_factory().get_name() for element in elements]


@given(path=HOSTILE, device=HOSTILE, username=HOSTILE, password=HOSTILE, place=HOSTILE)
@settings(deadline=None)
def test_no_value_becomes_a_part_of_the_pipeline(path, device, username, password, place):
    sources = {
        "location": SourceConfig(kind="file", path=path),
        "device": SourceConfig(kind="v4l2", device=device),
        "user-id": SourceConfig(kind="rtsp", url="rtsp://camera/live", username=username, password_file="x"),
    }
    for name, value in (("location", path), ("device", device), ("user-id", username)):
        plain = SourceConfig(**{**PLAIN, "kind": sources[name].kind})
        chain = launch.source(sources[name], password)
        assert factories(chain) == factories(launch.source(plain))
        pipeline = Gst.Pipeline()
        elements = build.link(pipeline, chain)
        assert described(elements) == factories(chain) and pipeline.children.__len__() == len(chain)
        assert elements[0].get_property(name) == value
    assert elements[0].get_property("user-pw") == password


@given(path=HOSTILE.filter(lambda text: not re.search(r"[\s@]", text)))
@settings(deadline=None)
def test_no_address_becomes_a_part_of_the_pipeline(path):
    url = f"rtsp://camera/{path}"
    elements = build.link(Gst.Pipeline(), launch.source(SourceConfig(kind="rtsp", url=url)))
    assert described(elements)[0] == "rtspsrc"
    assert elements[0].get_property("location") == url


@given(st.sampled_from(["width", "height", "fps", "latency_ms", "sensor_id", "pattern", "transport"]), HOSTILE)
def test_what_goes_into_caps_and_enums_is_a_number_or_one_of_a_list(key, text):
    with pytest.raises(ValueError):
        SourceConfig(**{**PLAIN, key: text})


def test_nobody_parses_a_pipeline():
    """There is no way from text to elements: no parse_launch, no set_launch, no bin from a description."""
    for path in (ROOT / "edge").rglob("*.py"):
        assert not re.search(r"parse_launch|parse_bin_from|set_launch|parse_full", path.read_text()), path


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
