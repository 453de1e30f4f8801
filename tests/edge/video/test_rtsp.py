"""The RTSP server, seen by ffmpeg and ffprobe as independent clients, and by a bare socket."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from edge.errors import ConfigError, TapetumError
from edge.sections import RtspConfig
from edge.video.nv12 import from_luma
from edge.video.rtsp import RtspServer
from tests.waiting import until

QUICK = ("-probesize", "5000000", "-analyzeduration", "100000")


def probe(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["ffprobe", "-v", "error", *QUICK, *arguments, "-of", "json", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


class Viewer:
    """ffmpeg, which decodes a number of pictures to grey and complains about every error in the stream."""

    def __init__(self, url: str, pictures: int = 100_000, transport: str = "tcp") -> None:
        command = ["ffmpeg", "-v", "warning", "-nostdin", *QUICK, "-rtsp_transport", transport, "-i", url]
        command += ["-frames:v", str(pictures), "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self._head = b""

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()

    def first_bytes(self) -> None:
        """Wait until it sees something."""
        self._head = self.process.stdout.read(1000)
        assert self._head

    def pictures(self, width: int, height: int) -> np.ndarray:
        """uint8[N, H * 3 // 2, W], I420, once ffmpeg is done; it must not have complained."""
        out, complaints = self.process.communicate(timeout=60)
        bad = [line for line in complaints.decode().splitlines() if "conceal" in line or "corrupt" in line]
        assert (self.process.returncode, bad) == (0, [])
        return np.frombuffer(self._head + out, np.uint8).reshape(-1, height * 3 // 2, width)


def describe(url: str) -> str:
    """The answer to an RTSP DESCRIBE, from a bare socket."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as wire:
        wire.sendall(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode())
        stream = wire.makefile("rb")
        header = b"".join(iter(lambda: stream.readline().replace(b"\r\n", b"\n"), b"\n")).decode()
        length = re.search(r"Content-Length: (\d+)", header)
        return header + (stream.read(int(length[1])).decode() if length else "")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_viewer_sees_the_pictures(transport, serve):
    with serve() as screen, Viewer(screen.server.url("colour"), 15, transport) as viewer:
        pictures = viewer.pictures(320, 240)
    assert len(pictures) == 15
    last = pictures[-1].astype(int)
    assert np.abs(last[40:240, :150] - 60).max() < 6
    assert np.abs(last[40:240, 170:] - 180).max() < 6
    chroma = last[240:].reshape(2, 120, 160)
    assert np.abs(chroma[0, 30:, :70] - 100).max() < 8, "Cb of the left half"
    assert np.abs(chroma[1, 30:, 90:] - 100).max() < 8, "Cr of the right half"
    bars = {int(np.argmax(picture[10])) for picture in pictures}
    assert len(bars) > 5, "the bar moves"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
def test_no_port_is_open_but_at_the_address(address, serve):
    """Nor those of video over UDP."""
    with serve(address=address) as screen, Viewer(screen.server.url("colour"), transport="udp") as viewer:
        viewer.first_bytes()
        opened = [line.split() for line in sockets().splitlines() if f"pid={os.getpid()}," in line]
    places = {fields[4].rpartition(":")[0] for fields in opened}
    assert {fields[0] for fields in opened} == {"tcp", "udp"}
    assert places == ({"[::1]"} if address == "::1" else {"127.0.0.1"})


def sockets() -> str:
    """TCP and UDP ports that wait for somebody, and whose they are."""
    return subprocess.run(["ss", "-tulnpH"], capture_output=True, text=True, check=True).stdout


def test_the_stream_says_what_it_is(serve):
    with serve() as screen:
        found = probe(screen.server.url("colour"), "-show_streams")
    (stream,) = json.loads(found.stdout)["streams"]
    assert {key: stream[key] for key in ("codec_name", "width", "height", "color_range", "color_space")} == {
        "codec_name": "h264",
        "width": 320,
        "height": 240,
        "color_range": "tv",
        "color_space": "smpte170m",
    }


def test_an_encoder_runs_only_while_somebody_watches(serve):
    with serve(mount="nir") as screen:
        server = screen.server
        assert (server.watching("nir"), server.clients) == (False, 0)
        with Viewer(server.url("nir")) as viewer:
            viewer.first_bytes()
            assert (server.watching("nir"), server.watching("colour"), server.clients) == (True, False, 1)
        until(lambda: (server.watching("nir"), server.clients) == (False, 0))
        with Viewer(server.url("nir")) as viewer:
            viewer.first_bytes()


def test_viewers_share_one_encoder_and_begin_with_a_key_frame(serve):
    encoders = []
    with serve() as screen:
        url = screen.server.url("colour")
        factory = screen.server._mounts["colour"].factory
        factory.connect("media-constructed", lambda _, media: encoders.append(media))
        with Viewer(url, 60) as first:
            first.first_bytes()
            for _ in range(3):
                found = probe(url, "-show_entries", "packet=flags", "-read_intervals", "%+#3")
                flags = [packet["flags"] for packet in json.loads(found.stdout)["packets"]]
                assert any("K" in flag for flag in flags), "not a second or two later"
            with Viewer(url, 10, "udp") as second:
                assert len(second.pictures(320, 240)) == 10
            assert len(first.pictures(320, 240)) == 60
    assert len(encoders) == 1


@pytest.mark.parametrize("pictures", [0, 1])
def test_a_viewer_is_answered_though_no_picture_comes(pictures):
    with RtspServer(RtspConfig(port=0)) as server:
        for _ in range(pictures):
            server.push("colour", from_luma(np.full((120, 161), 90, np.uint8)))
        answer = describe(server.url("colour"))
    assert answer.startswith("RTSP/1.0 200 OK")
    assert "sprop-parameter-sets" in answer


def test_a_viewer_begins_with_a_new_picture_where_they_come(serve):
    """An old one may show something else, in another size."""
    with serve(mount="nir") as screen:
        screen.server.push("colour", from_luma(np.full((120, 160), 90, np.uint8)))
        screen.mount = "colour"
        found = probe(screen.server.url("colour"), "-show_entries", "frame=width", "-read_intervals", "%+#3")
    assert {frame["width"] for frame in json.loads(found.stdout)["frames"]} == {320}


def test_a_width_that_is_no_multiple_of_four(serve):
    with serve() as screen:
        screen.size = (322, 242)
        with Viewer(screen.server.url("colour"), 5) as viewer:
            picture = viewer.pictures(322, 242)[-1].astype(int)
    assert np.abs(picture[40:242, :150] - 60).max() < 6
    assert np.abs(picture[40:242, 172:] - 180).max() < 6


def test_the_size_may_change_while_somebody_watches(serve, watch):
    with serve() as screen, watch(kind="rtsp", url=screen.server.url("colour")) as seen:
        seen.wait_for_frames(3)
        screen.size = (482, 362)
        until(lambda: seen.source.status.size == (482, 362))
        seen.wait_for_frames(3)
        screen.size = (160, 120)
        until(lambda: seen.source.status.size == (160, 120))
        luma = seen.wait_for_frames(3)[-1].luma
    assert seen.source.status.rebuilds == 0
    assert np.abs(luma[30:, :70].astype(int) - round((60 - 16) * 255 / 219)).max() < 8


@pytest.fixture
def login(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("night owl\n")
    return {"username": "keeper", "password_file": str(secret)}


def test_a_login_opens_and_nothing_else_does(login, serve):
    with serve(**login) as screen:
        url = screen.server.url("colour")
        right = url.replace("rtsp://", "rtsp://keeper:night%20owl@")
        assert probe(right).returncode == 0
        for wrong in (url, url.replace("rtsp://", "rtsp://keeper:guess@")):
            refused = probe(wrong)
            assert refused.returncode != 0
            assert "401" in refused.stderr
        assert "WWW-Authenticate: Digest" in describe(url)


def test_a_missing_password_file_is_a_configuration_error():
    with pytest.raises(ConfigError, match="secret"):
        RtspServer(RtspConfig(username="keeper", password_file="/nowhere/secret"))


def test_a_taken_port_is_named(free_port):
    with socket.create_server(("127.0.0.1", free_port)):
        server = RtspServer(RtspConfig(port=free_port))
        with pytest.raises(TapetumError, match=rf"127\.0\.0\.1 port {free_port}.*in use"):
            server.start()


@pytest.mark.parametrize("address", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_named(address, free_port, login):
    server = RtspServer(RtspConfig(address=address, port=free_port, **login))
    with pytest.raises(TapetumError, match=address):
        server.start()


def test_the_url_of_a_wildcard_can_be_dialled(serve, login):
    with serve(address="0.0.0.0", **login) as screen:
        url = screen.server.url("nir")
    assert urlsplit(url).hostname == socket.gethostname().lower()
    assert urlsplit(url).port > 0


def test_stop_sends_viewers_away_and_frees_the_port(free_port, serve):
    for _ in range(2):
        with serve(port=free_port) as screen:
            viewer = Viewer(screen.server.url("colour"))
            viewer.first_bytes()
        with viewer:
            viewer.process.communicate(timeout=30)
        assert not screen.server.watching("colour")


def test_a_viewer_that_comes_while_another_leaves_is_served(serve):
    """One that comes at the very instant may still be asked to try again (503): a few of many."""
    with serve() as screen:
        statuses = [describe(screen.server.url("colour")).splitlines()[0] for _ in range(40)]
    assert statuses.count("RTSP/1.0 200 OK") >= 36


def test_what_a_client_sends_is_not_repeated_in_the_journal(serve, capfd):
    """GStreamer's own parser warns on stderr of each word that it does not know."""
    with serve() as screen:
        url = screen.server.url("colour")
        request = f"SETUP {url}/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;unicast;n\xfasense\r\n\r\n"
        with socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=20) as wire:
            wire.sendall(request.encode("latin-1"))
            assert wire.recv(1000).startswith(b"RTSP/1.0 ")
    assert "sense" not in capfd.readouterr().err


def test_a_killed_viewer_is_forgotten(serve):
    with serve() as screen:
        with Viewer(screen.server.url("colour"), transport="udp") as viewer:
            viewer.first_bytes()
        until(lambda: not screen.server.watching("colour"))


def test_a_frozen_viewer_hurts_nobody(serve):
    with serve() as screen:
        screen.size = (1280, 720)
        with Viewer(screen.server.url("colour")) as frozen:
            frozen.first_bytes()
            frozen.process.send_signal(signal.SIGSTOP)
            with Viewer(screen.server.url("colour"), 20) as viewer:
                assert len(viewer.pictures(1280, 720)) == 20


def test_viewers_leave_nothing_behind(serve):
    def open_things() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))

    after = []
    with serve() as screen:
        url = screen.server.url("colour")
        for _ in range(12):
            assert describe(url).startswith("RTSP/1.0 200 OK")
            until(lambda: not screen.server.watching("colour"))
            after.append(open_things())
    assert max(after[6:]) <= max(after[:6])


def test_the_service_leaves_without_a_word():
    """GStreamer complains on stderr when pipelines are dropped while they run."""
    script = textwrap.dedent(
        """
        import subprocess, threading
        import numpy as np
        from edge.sections import RtspConfig
        from edge.video.nv12 import from_luma
        from edge.video.rtsp import RtspServer

        picture = from_luma(np.full((120, 160), 90, np.uint8))
        with RtspServer(RtspConfig(port=0)) as server:
            viewer = subprocess.Popen(
                ["ffmpeg", "-v", "quiet", "-nostdin", "-i", server.url("colour"), "-f", "null", "-"]
            )
            while not server.watching("colour"):
                server.push("colour", picture)
                threading.Event().wait(0.01)
        viewer.wait()
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
