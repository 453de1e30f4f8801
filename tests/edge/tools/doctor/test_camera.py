"""Cameras: a V4L2 device whose driver is a C library with the kernel's header, RTSP servers, and what is missing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.config import Config
from edge.tools.doctor import camera
from edge.tools.doctor.account import Account, current_account
from edge.tools.doctor.check import Finding
from edge.tools.doctor.v4l2 import Mode
from edge.video.rtsp import RtspServer
from tests.edge.video.conftest import Screen
from tests.edge.video.test_rtsp import RtspConfig

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[4]
ANYBODY = Account("anybody", 65_000, frozenset({65_000}))


def look(config: Config, root: Path = Path("/")) -> Finding:
    return camera.camera(config, current_account(), root)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("driver") / "camera.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, HERE / "v4l2_camera.c"], check=True)
    return library


@pytest.fixture
def read_camera(driver: Path, tmp_path: Path) -> Callable[..., str]:
    """What `read_camera` of a process finds that has the driver; in Python's own words."""
    device = tmp_path / "video0"
    device.touch()

    def read(**environment: str) -> str:
        program = (
            "import sys, pathlib; from edge.tools.doctor.v4l2 import *; print(read_camera(pathlib.Path(sys.argv[1])))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, device],
            cwd=ROOT,
            env={**os.environ, "LD_PRELOAD": str(driver), **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    return read


class TestV4l2:
    def test_formats_sizes_and_rates(self, read_camera: Callable[..., str]) -> None:
        modes = (Mode("GREY", 1280, 720, 60.0), Mode("GREY", 640, 480, 60.0), Mode("MJPG", 1920, 1080, 0.0))
        assert read_camera() == f"Camera(card='Night eye', captures=True, modes={modes})"

    def test_a_device_of_the_camera_that_gives_no_pictures(self, read_camera: Callable[..., str]) -> None:
        assert read_camera(V4L2_METADATA="1") == "Camera(card='Night eye', captures=False, modes=())"

    def test_what_is_no_camera(self, config: Callable[..., Config], tmp_path: Path) -> None:
        missing = look(config(source={"kind": "v4l2", "device": str(tmp_path / "video9")}))
        assert missing.state == "failed" and "no " in missing.detail and "source.device" in missing.cure
        found = look(config(source={"kind": "v4l2", "device": "/dev/null"}))
        assert found == ("failed", "/dev/null: Inappropriate ioctl for device", found.cure)

    def test_one_that_the_service_may_not_use(self, config: Callable[..., Config], tmp_path: Path) -> None:
        device = tmp_path / "video0"
        device.touch(mode=0o660)
        found = camera.camera(config(source={"kind": "v4l2", "device": str(device)}), ANYBODY, Path("/"))
        assert found.state == "failed" and "may not use" in found.detail and "usermod -aG" in found.cure

    @pytest.mark.parametrize(
        ("wish", "state", "words"),
        [
            ({}, "ok", "GREY 640x480 60 fps"),
            ({"width": 640, "height": 480, "fps": 60}, "ok", ""),
            ({"width": 800, "height": 600}, "warning", "800x600, which is scaled"),
            ({"fps": 90}, "warning", "no 90 fps"),
        ],
    )
    def test_what_is_asked_of_it(
        self, wish: dict[str, int], state: str, words: str, config: Callable[..., Config]
    ) -> None:
        source = config(source={"kind": "v4l2", **wish}).source
        found = camera._judge_modes(source, "camera", (Mode("GREY", 640, 480, 60.0), Mode("MJPG", 320, 240, 30.0)))
        assert found.state == state and words in found.detail


@pytest.fixture
def login(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "secret").write_text("night owl\n")
    return {"username": "keeper", "password_file": str(tmp_path / "secret")}


@pytest.fixture
def server(request: pytest.FixtureRequest, login: dict[str, str], pki: Path) -> Iterator[RtspServer]:
    keys = {"cert_file": str(pki / "server.crt"), "key_file": str(pki / "server.key")} if request.param else {}
    with RtspServer(RtspConfig.model_validate({"port": 0, **login, **keys})) as running:
        screen = Screen(running)
        yield running
        screen.stop()


class TestRtsp:
    @pytest.mark.parametrize("server", [False], indirect=True)
    def test_login_and_codec(
        self, server: RtspServer, login: dict[str, str], config: Callable[..., Config], tmp_path: Path
    ) -> None:
        source = {"kind": "rtsp", "url": server.url("colour"), **login}
        found = look(config(source=source))
        assert found.state == "ok", found
        assert found.detail.endswith(": H264 320x240")
        (tmp_path / "secret").write_text("guess\n")
        refused = look(config(source=source))
        assert refused.state == "failed" and refused.cure == "check source.username and source.password_file"
        (tmp_path / "secret").write_text("night owl\n")
        lost = look(config(source={**source, "url": server.url("colour").replace("colour", "elsewhere")}))
        assert lost.state == "failed" and lost.cure == "check the path in [source]"

    @pytest.mark.parametrize("server", [True], indirect=True)
    def test_a_camera_with_tls(
        self, server: RtspServer, login: dict[str, str], pki: Path, config: Callable[..., Config]
    ) -> None:
        source = {"kind": "rtsp", "url": server.url("colour"), **login}
        assert look(config(source={**source, "ca_file": str(pki / "ours.crt")})).state == "ok"
        distrusted = look(config(source={**source, "ca_file": str(pki / "stranger.crt")}))
        assert distrusted.state == "failed" and "certificate not trusted: " in distrusted.detail

    @pytest.mark.parametrize("scheme", ["rtsp", "rtsps"])
    def test_nobody_there(self, scheme: str, config: Callable[..., Config]) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
        found = look(config(source={"kind": "rtsp", "url": f"{scheme}://127.0.0.1:{port}/live"}))
        assert found.state == "failed" and "Connection refused" in found.detail and "cable" in found.cure


def test_a_clip_and_a_test_picture(config: Callable[..., Config], tmp_path: Path) -> None:
    assert look(config()).state == "warning"
    (tmp_path / "clip.mp4").write_bytes(b"no clip")
    assert look(config(source={"kind": "file", "path": str(tmp_path / "clip.mp4")})).state == "failed"


def test_a_csi_sensor(config: Callable[..., Config], tmp_path: Path) -> None:
    csi = config(source={"kind": "csi"})
    missing = look(csi, tmp_path)
    assert missing.state == "failed" and "ribbon cable" in missing.cure
    folder = tmp_path / "sys/class/video4linux/video0"
    folder.mkdir(parents=True)
    (folder / "name").write_text("vi-output, imx219 9-0010\n")
    assert "nvargus-daemon" in look(csi, tmp_path).detail
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/argus_socket").touch()
    assert look(csi, tmp_path) == ("ok", "imx219 9-0010", "")
    assert look(config(source={"kind": "csi", "sensor_id": 1}), tmp_path).state == "failed"
