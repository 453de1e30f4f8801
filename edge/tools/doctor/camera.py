"""The camera: is it there, may the service use it, and what does it give."""

from __future__ import annotations

import os
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

from edge import pem
from edge.config import Config, read_secret
from edge.sections import SourceConfig
from edge.tools.doctor.account import Account, group_name
from edge.tools.doctor.check import Finding, failed, ok, warning
from edge.tools.doctor.v4l2 import Mode, read_camera

LIMIT_S = 12.0  # for a network camera: to connect, to log in, and to wait for a key frame
_CONNECT_S = 3.0
_PICTURE_S = 7.0
_MODES_TOLD = 4


def camera(config: Config, account: Account, root: Path) -> Finding:
    """What is known of the configured source."""
    source = config.source
    match source.kind:
        case "v4l2":
            return _v4l2(source, account)
        case "rtsp":
            return _rtsp(source)
        case "csi":
            return _csi(source, root)
        case "file":
            return _picture(source, f"clip {source.path}")
        case "test":
            return warning("a test picture, no camera", 'set [source] kind = "v4l2", "csi" or "rtsp"')


def _v4l2(source: SourceConfig, account: Account) -> Finding:
    device = Path(source.device)
    if not device.exists():
        there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        return failed(f"no {device} (there: {there})", "plug the camera in, or set source.device")
    if not account.may(device, os.R_OK | os.W_OK):
        group = group_name(device.stat().st_gid)
        return failed(f"{account.name} may not use {device}", f"usermod -aG {group} {account.name}")
    try:
        found = read_camera(device)
    except OSError as error:
        return failed(f"{device}: {error.strerror}", "name a V4L2 device in source.device (v4l2-ctl --list-devices)")
    if not found.captures:
        return failed(f"{device} ({found.card}) gives no pictures", "another /dev/video* of the same camera does")
    return _judge_modes(source, f"{device} ({found.card})", found.modes)


def _judge_modes(source: SourceConfig, name: str, modes: tuple[Mode, ...]) -> Finding:
    told = ", ".join(map(str, modes[:_MODES_TOLD])) + (f", {len(modes)} modes in all" if modes[_MODES_TOLD:] else "")
    told = f"{name}: {told or 'it does not tell its modes'}"
    fitting = [mode for mode in modes if (mode.width, mode.height) == (source.width, source.height)]
    if source.width and modes and not fitting:
        asked = f"{source.width}x{source.height}"
        return warning(f"{told}; not {asked}, which is scaled", "choose width and height among its modes")
    fastest = max((mode.fps for mode in fitting or modes), default=0)
    if source.fps and fastest and source.fps > fastest:
        return warning(f"{told}; no {source.fps} fps", "lower source.fps, or width and height")
    return ok(told)


def _csi(source: SourceConfig, root: Path) -> Finding:
    names = sorted(
        file.read_text(errors="replace").strip() for file in (root / "sys/class/video4linux").glob("video*/name")
    )
    sensors = [name for name in names if name.startswith("vi-output")]
    if len(sensors) <= source.sensor_id:
        there = ", ".join(sensors) or "none"
        return failed(
            f"no CSI sensor {source.sensor_id} (there: {there})",
            "check the ribbon cable, and choose the sensor in /opt/nvidia/jetson-io/jetson-io.py",
        )
    if not (root / "tmp/argus_socket").exists():
        return failed(
            "nvargus-daemon does not answer: no /tmp/argus_socket",
            "systemctl restart nvargus-daemon; in a unit, PrivateTmp=no",
        )
    return ok(sensors[source.sensor_id].removeprefix("vi-output, "))


def _rtsp(source: SourceConfig) -> Finding:
    return _connection(source) or _picture(source, source.camera)


def _connection(source: SourceConfig) -> Finding | None:
    """What GStreamer would not tell of a connection that fails; None when it stands."""
    parts = urlsplit(source.url)
    host, is_secure = parts.hostname or "", parts.scheme == "rtsps"
    try:
        with socket.create_connection((host, parts.port or (322 if is_secure else 554)), _CONNECT_S) as wire:
            if is_secure:
                context = pem.client_context("source", source.ca_file)
                context.wrap_socket(wire, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message.rstrip(".")
        return failed(f"{source.camera}: certificate not trusted: {reason}", "check source.url and source.ca_file")
    except ssl.SSLError as error:
        return failed(f"{source.camera}: no TLS: {error.reason}", "is this its port for rtsps?")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return failed(f"{source.camera}: {reason}", "check its power, its cable, and the address in source.url")
    return None


def _picture(source: SourceConfig, name: str) -> Finding:
    """Play it as the service does."""
    from edge.video import launch
    from edge.video.capture import Capture, StreamBrokenError, StreamEndedError

    password = read_secret(source.password_file) if source.password_file else ""
    end_s = time.monotonic() + _PICTURE_S
    try:
        with Capture(launch.source(source, password)) as capture:
            while time.monotonic() < end_s:
                if picture := capture.pull(100):
                    height, width = picture.luma.shape
                    return ok(f"{name}: {capture.encoding} {width}x{height}".replace(":  ", ": "))
    except (StreamBrokenError, StreamEndedError) as error:
        is_login = source.kind == "rtsp" and "nauthorized" in str(error)
        cure = "check source.username and source.password_file" if is_login else "check the path in [source]"
        return failed(f"{name}: {error}", cure)
    return warning(
        f"{name}: connected, but no picture within {_PICTURE_S:g} s", "is it sending? See its own settings"
    )
