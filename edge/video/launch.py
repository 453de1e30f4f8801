"""Which GStreamer elements make each source and the encoder, as data.

A chain is a tuple of elements in the order in which they are linked. Values of the configuration are only ever values
of properties, never parts of a pipeline description, so a path or URL may hold any character.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.sections import SourceConfig

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its factory, its properties, and properties that only some versions of it have.

    Enums and flags are given by nick, caps in their text form, authorities of TLS as a PEM file.
    """

    factory: str
    properties: Mapping[str, Value] = field(default_factory=dict)
    optional: Mapping[str, Value] = field(default_factory=dict)


Chain = tuple[Element, ...]

# Formats whose first plane is 8-bit luma: what most decoders and cameras give comes through without conversion.
LUMA_FORMATS = "{ GRAY8, NV12, I420, YV12, NV21, Y42B, NV16, Y444 }"
JETSON_ENCODER = Path("/dev/v4l2-nvenc")
ENCODER = "encoder"  # name of the element whose bitrate may be changed while it runs
# Without expose-all-streams decodebin makes no decoder for sound, and no pad that nobody would link.
_DECODE = Element("decodebin", {"caps": "video/x-raw(ANY)", "expose-all-streams": False})


def source(config: SourceConfig, password: str = "") -> Chain:
    """The elements of a source, from camera or clip to an appsink that keeps the newest frame alone."""
    match config.kind:
        case "file":
            head = _file(config)
        case "rtsp":
            head = _rtsp(config, password)
        case "v4l2":
            head = _v4l2(config)
        case "csi":
            head = _csi(config)
        case "test":
            head = _test(config)
    return (*head, *_luma(config))


def encoder(bitrate_kbps: int, *, jetson: bool) -> Chain:
    """The elements from an appsrc that takes NV12 to RTP: x264, or the Jetson's encoder."""
    frames = Element(
        "appsrc",
        {
            "name": "frames",
            "is-live": True,
            "format": "time",
            "do-timestamp": True,
            "max-buffers": 2,
            "leaky-type": "downstream",
        },
    )
    # The encoders put SPS and PPS before each key frame; the payloader (config-interval) would put them before each
    # slice of it, which tears the frame apart.
    stream = Element("capsfilter", {"caps": "video/x-h264,stream-format=byte-stream,alignment=au"})
    payload = Element("rtph264pay", {"name": "pay0", "pt": 96, "aggregate-mode": "zero-latency"})
    encode = _jetson_h264(bitrate_kbps) if jetson else _x264(bitrate_kbps)
    return (frames, *encode, stream, payload)


def bitrate(chain: Chain) -> Value:
    """What an encoder's chain sets, in the encoder's own unit."""
    return next(item.properties["bitrate"] for item in chain if item.properties.get("name") == ENCODER)


def _file(config: SourceConfig) -> Chain:
    return (Element("filesrc", {"location": config.path}), _DECODE)


def _rtsp(config: SourceConfig, password: str) -> Chain:
    properties: dict[str, Value] = {
        "location": config.url,
        "protocols": config.transport,
        "latency": config.latency_ms,
    }
    if config.username:
        properties |= {"user-id": config.username, "user-pw": password}
    if config.ca_file:
        properties["tls-database"] = config.ca_file
    return (Element("rtspsrc", properties), _DECODE)


def _v4l2(config: SourceConfig) -> Chain:
    camera = Element("v4l2src", {"device": config.device})
    wish = _size(config) + _rate(config)
    # In order of preference; what the camera cannot give is scaled and thinned out behind it.
    kinds = ("video/x-raw", "image/jpeg")
    caps = [kind + wish for kind in kinds] + list(kinds) if wish else list(kinds)
    return (camera, Element("capsfilter", {"caps": ";".join(caps)}), _DECODE)


def _csi(config: SourceConfig) -> Chain:
    caps = "video/x-raw(memory:NVMM),format=NV12" + _size(config) + _rate(config)
    return (
        Element("nvarguscamerasrc", {"sensor-id": config.sensor_id}),
        Element("capsfilter", {"caps": caps}),
        Element("nvvidconv"),
        Element("capsfilter", {"caps": "video/x-raw,format=NV12"}),
    )


def _test(config: SourceConfig) -> Chain:
    caps = "video/x-raw" + _size(config) + _rate(config)
    return (
        Element("videotestsrc", {"is-live": True, "pattern": config.pattern}),
        Element("capsfilter", {"caps": caps}),
    )


def _luma(config: SourceConfig) -> Chain:
    """From any raw video to the newest frame, in a format whose first plane is luma."""
    thin_out = (Element("videorate", {"drop-only": True, "max-rate": config.fps}),) if config.fps else ()
    scale = (Element("videoscale", {"add-borders": False}),) if config.width else ()
    return (
        *thin_out,
        Element("videoconvert"),
        *scale,
        Element("capsfilter", {"caps": f"video/x-raw,format={LUMA_FORMATS}" + _size(config)}),
        Element(
            "appsink",
            {
                "max-buffers": 1,
                "drop": True,
                "sync": config.kind == "file",  # a clip plays in real time; a camera is its own clock
                "enable-last-sample": False,
            },
        ),
    )


def _x264(bitrate_kbps: int) -> Chain:
    return (
        Element(
            "x264enc",
            {
                "name": ENCODER,
                "tune": "zerolatency",
                "speed-preset": "superfast",
                "bitrate": bitrate_kbps,
                "key-int-max": 30,
                "threads": 2,  # the networks need the others
            },
        ),
    )


def _jetson_h264(bitrate_kbps: int) -> Chain:
    return (
        Element("nvvidconv"),
        Element("capsfilter", {"caps": "video/x-raw(memory:NVMM),format=NV12"}),
        Element(
            "nvv4l2h264enc",
            {"name": ENCODER, "bitrate": bitrate_kbps * 1000},
            optional={
                "maxperf-enable": True,
                "preset-level": 1,
                "control-rate": 1,
                "num-B-Frames": 0,
                "insert-sps-pps": True,
                "idrinterval": 30,
            },
        ),
    )


def _size(config: SourceConfig) -> str:
    return f",width={config.width},height={config.height}" if config.width else ""


def _rate(config: SourceConfig) -> str:
    return f",framerate={config.fps}/1" if config.fps else ""
