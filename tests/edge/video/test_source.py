"""Sources against real clips, real cameras and real trouble."""

from __future__ import annotations

import socket
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge.errors import ConfigError, InputError, TapetumError
from edge.sections import SourceConfig
from edge.types import SourceState
from edge.video import source as source_module
from edge.video.capture import Capture, StreamBrokenError
from edge.video.launch import Element
from edge.video.source import Source
from tests.waiting import until

RAMP = "nullsrc=s=320x240:r=20:d=0.6,format=gray,geq=lum=X*255/319"
ODD = "testsrc=s=321x241:r=20:d=0.6"


@pytest.fixture
def clip(ffmpeg):
    """A clip of 12 frames."""
    return ffmpeg("clip.mp4", "-f", "lavfi", "-i", RAMP, "-pix_fmt", "yuv420p")


@pytest.fixture
def clip_with_sound(ffmpeg):
    sound = ("-f", "lavfi", "-i", "sine=d=0.6")
    return ffmpeg("sound.mp4", "-f", "lavfi", "-i", RAMP, *sound, "-pix_fmt", "yuv420p")


@pytest.mark.parametrize("which", ["clip", "clip_with_sound"])
def test_a_clip_loops_on_one_clock(which, request, watch):
    with watch(kind="file", path=str(request.getfixturevalue(which))) as seen:
        frames = seen.wait_for_frames(30)
    assert [frame.seq for frame in frames] == list(range(30))
    steps_ms = [round((b.pts_ns - a.pts_ns) / 1e6) for a, b in pairwise(frames)]
    assert set(steps_ms) <= {50, 100, 150}, "one step or, on a busy machine, a few; never back, never a jump"
    assert all(a.captured_at.monotonic_ns < b.captured_at.monotonic_ns for a, b in pairwise(frames))
    status = seen.source.status
    assert (status.state, status.size, status.rebuilds) == (SourceState.LIVE, (320, 240), 0)
    assert seen.states == [SourceState.LIVE]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("clip.mjpeg", ("-c:v", "mjpeg", "-f", "mjpeg")),
        ("still.jpg", ("-frames:v", "1")),
        ("clip.gif", ()),  # GStreamer never says that one is over
    ],
)
def test_a_clip_that_cannot_be_wound_back_loops_all_the_same(name, codec, ffmpeg, watch):
    """To the world it is one source without a break, not one that is lost or rebuilt at each end."""
    clip = ffmpeg(name, "-f", "lavfi", "-i", RAMP, *codec)
    with watch(kind="file", path=str(clip), stall_s=0.5) as seen:
        frames = seen.wait_for_frames(30)
    assert all(a.pts_ns < b.pts_ns for a, b in pairwise(frames))
    assert (seen.states, seen.source.status.rebuilds) == ([SourceState.LIVE], 0)


def test_a_stream_that_does_not_fit_is_told_in_one_line(ffmpeg, capfd):
    """Where the pad appears nobody would hear an exception; Python prints it, and goes on."""
    sound = ffmpeg("sound.wav", "-f", "lavfi", "-i", "sine=d=0.5")
    rest = Element("decodebin"), Element("videoconvert"), Element("appsink")
    wrong = pytest.raises(StreamBrokenError, match=r"^no video that can be used here: audio/x-raw.*rate=\(int\)44100")
    with Capture((Element("filesrc", {"location": str(sound)}), *rest)) as capture, wrong as told:
        for _ in range(100):
            capture.pull(100)
    assert "\n" not in str(told.value)
    assert capfd.readouterr().err == ""


def test_an_unforeseen_error_is_kept(clip, watch, monkeypatch):
    monkeypatch.setattr("edge.video.capture.luma_of", lambda sample: 1 // 0)
    with watch(kind="file", path=str(clip)) as seen:
        until(lambda: seen.source.fault is not None)
    assert isinstance(seen.source.fault, ZeroDivisionError)


def test_the_pulse_goes_on_while_the_camera_is_away(watch):
    with watch(kind="v4l2", device="/dev/video-absent") as seen:
        seen.wait_for(SourceState.LOST)
        before_ns = seen.source.beat_ns
        until(lambda: seen.source.beat_ns > before_ns)


def test_a_clip_plays_in_real_time(clip, watch):
    with watch(kind="file", path=str(clip)) as seen:
        frames = seen.wait_for_frames(24)
    played_s = (frames[-1].captured_at.monotonic_ns - frames[0].captured_at.monotonic_ns) / 1e9
    assert played_s > 0.9 * 23 / 20


def test_a_clip_that_plays_once_ends(clip, watch):
    with watch(kind="file", path=str(clip), loop=False) as seen:
        status = seen.wait_for(SourceState.ENDED)
        assert str(clip) in status.detail
        first_time = len(seen.frames)
        assert 1 <= first_time <= 12
        seen.source.restart()
        seen.wait_for_frames(1)
    assert [frame.seq for frame in seen.frames] == list(range(len(seen.frames)))


def test_a_path_may_hold_any_character(clip, watch):
    odd = clip.with_name("a clip ! \"quoted\" 'so' $HOME name=x \\ ünïcode.mp4")
    clip.rename(odd)
    with watch(kind="file", path=str(odd)) as seen:
        seen.wait_for_frames()


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("gray.mkv", ("-c:v", "ffv1", "-pix_fmt", "gray")),
        ("raw.avi", ("-c:v", "rawvideo", "-pix_fmt", "bgr24")),
        ("png.avi", ("-c:v", "png", "-pix_fmt", "rgb24")),
    ],
)
def test_an_odd_size_comes_as_it_is(name, codec, ffmpeg, watch):
    with watch(kind="file", path=str(ffmpeg(name, "-f", "lavfi", "-i", ODD, *codec))) as seen:
        luma = seen.wait_for_frames()[0].luma
    expected = ffmpeg("expected.gray", "-f", "lavfi", "-i", ODD, "-pix_fmt", "gray", "-f", "rawvideo")
    first = np.fromfile(expected, np.uint8)[: 321 * 241].reshape(241, 321)
    assert (luma.shape, luma.dtype, luma.flags.c_contiguous) == ((241, 321), np.uint8, True)
    rows = slice(0, 150)  # below, the test picture changes with time
    assert np.abs(luma[rows].astype(int) - first[rows]).mean() < 2


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("limited.mp4", ("-pix_fmt", "yuv420p")),
        ("limited_444.mp4", ("-pix_fmt", "yuv444p")),
        ("full.mp4", ("-pix_fmt", "yuvj420p")),
        ("full_jpeg.avi", ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "2")),
        ("ten_bits.mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv420p10le")),
        ("rgb.avi", ("-c:v", "rawvideo", "-pix_fmt", "bgr24")),
        ("gray.mkv", ("-c:v", "ffv1", "-pix_fmt", "gray")),
    ],
)
def test_black_is_0_and_white_is_255_whatever_the_coding(name, codec, ffmpeg, watch):
    with watch(kind="file", path=str(ffmpeg(name, "-f", "lavfi", "-i", RAMP, *codec))) as seen:
        luma = seen.wait_for_frames()[0].luma
    expected = np.broadcast_to(np.arange(320) * 255 / 319, (240, 320))
    assert np.abs(luma - expected).max() < 4
    assert luma.min() <= 1
    assert luma.max() >= 254


def test_width_height_and_fps_are_kept(clip, watch):
    with watch(kind="file", path=str(clip), width=161, height=121, fps=5) as seen:
        frames = seen.wait_for_frames(5)
    assert all(frame.luma.shape == (121, 161) for frame in frames)
    assert frames[0].luma.max() >= 250, "scaled, not framed with black"
    steps_ms = [(b.pts_ns - a.pts_ns) / 1e6 for a, b in pairwise(frames)]
    assert np.median(steps_ms) >= 190


def test_the_newest_frame_wins(watch):
    busy = threading.Event()
    with watch(kind="test", fps=30, on_frame=lambda frame: busy.wait(0.2)) as seen:
        frames = seen.wait_for_frames(4)
        busy.set()
    assert [frame.seq for frame in frames] == [0, 1, 2, 3]
    assert frames[3].pts_ns - frames[1].pts_ns > 250e6, "frames in between were dropped, not queued"


@pytest.mark.parametrize("content", ["empty", "random", "text", "cut off", "sound"])
def test_a_broken_clip_fails_once_and_says_why(content, clip, ffmpeg, watch, tmp_path, monkeypatch):
    monkeypatch.setattr(source_module, "FIRST_FRAME_S", 2.0)
    path = tmp_path / "broken.mp4"
    contents = {
        "empty": b"",
        "random": np.random.default_rng(1).bytes(50_000),
        "text": b"this is no clip\n" * 100,
        "cut off": clip.read_bytes()[: clip.stat().st_size // 2],
    }
    if content == "sound":
        path = ffmpeg("broken.mp4", "-f", "lavfi", "-i", "sine=d=0.5")
    else:
        path.write_bytes(contents[content])
    with watch(kind="file", path=str(path)) as seen:
        status = seen.wait_for(SourceState.FAILED)
    assert str(path) in status.detail
    assert len(status.detail) > len(str(path)) + 10
    assert "\n" not in status.detail
    assert (seen.frames, seen.states, seen.source.status.rebuilds) == ([], [SourceState.FAILED], 0)


@pytest.mark.parametrize("what", ["nothing", "folder"])
def test_a_clip_that_is_not_there_is_an_input_error(what, watch, tmp_path):
    path = tmp_path if what == "folder" else tmp_path / "nothing.mp4"
    with pytest.raises(InputError, match=str(path)), watch(kind="file", path=str(path)):
        pass


def test_a_missing_device_is_tried_again_at_growing_intervals(watch, monkeypatch):
    monkeypatch.setattr(source_module, "BACKOFF_S", (0.05, 0.4))
    with watch(kind="v4l2", device="/dev/video-none") as seen:
        began = time.monotonic()
        until(lambda: seen.source.status.rebuilds == 5)
        waited_s = time.monotonic() - began
        assert seen.source.status.state is SourceState.LOST
        assert "/dev/video-none" in seen.source.status.detail
    assert waited_s > 0.05 + 0.1 + 0.2 + 0.4 + 0.4
    assert seen.states == [SourceState.LOST], "said once, not at each attempt"


def test_a_csi_camera_needs_a_jetson(watch):
    with pytest.raises(TapetumError, match=r"nvarguscamerasrc.*JetPack"), watch(kind="csi"):
        pass


def test_a_missing_password_file_is_a_configuration_error(watch):
    login = {"username": "u", "password_file": "/nowhere/secret"}
    with pytest.raises(ConfigError, match="secret"), watch(kind="rtsp", url="rtsp://127.0.0.1/x", **login):
        pass


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_that_dies_is_found_again(transport, camera, watch):
    eye = camera()
    with watch(kind="rtsp", url=eye.url, transport=transport) as seen:
        assert seen.wait_for_frames(3)[0].luma.shape == (240, 320)
        eye.kill()
        assert eye.url.removesuffix("/live") in seen.wait_for(SourceState.LOST).detail
        eye.start()
        seen.wait_for(SourceState.LIVE)
        seen.wait_for_frames(3)
    pts_ns = [frame.pts_ns for frame in seen.frames]
    assert pts_ns == sorted(set(pts_ns)), "one clock over both connections"
    assert [frame.seq for frame in seen.frames] == list(range(len(seen.frames)))
    assert seen.source.status.rebuilds >= 1


def test_a_camera_that_freezes_is_lost_and_found(camera, watch):
    eye = camera()
    with watch(kind="rtsp", url=eye.url, stall_s=0.5) as seen:
        seen.wait_for_frames(3)
        eye.freeze()
        assert "no frame for 0.5 s" in seen.wait_for(SourceState.LOST).detail
        eye.thaw()
        seen.wait_for(SourceState.LIVE)
        seen.wait_for_frames(3)


def test_a_frozen_camera_does_not_delay_the_stop(camera, watch):
    eye = camera()
    with watch(kind="rtsp", url=eye.url) as seen:
        seen.wait_for_frames()
        eye.freeze()
        began = time.monotonic()
    assert time.monotonic() - began < source_module.STOP_S + 1


def test_a_camera_that_takes_the_call_and_says_nothing_is_lost(watch, monkeypatch):
    monkeypatch.setattr(source_module, "FIRST_FRAME_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live"
        with watch(kind="rtsp", url=url, stall_s=0.5) as seen:
            assert "no frame for 1 s" in seen.wait_for(SourceState.LOST).detail
            began = time.monotonic()
    assert time.monotonic() - began < source_module.STOP_S + 1


def test_a_camera_with_a_login(camera, watch, tmp_path):
    eye = camera("night", 'p"s !w$rd')
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text('p"s !w$rd\n')
    wrong.write_text("guess\n")
    with watch(kind="rtsp", url=eye.url, username="night", password_file=str(right)) as seen:
        seen.wait_for_frames()
    with watch(kind="rtsp", url=eye.url, username="night", password_file=str(wrong)) as seen:
        assert "Unauthorized" in seen.wait_for(SourceState.LOST).detail
    assert seen.frames == []


def test_twenty_rebuilds_leave_nothing_behind(watch):
    def open_things() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))

    after = []
    with watch(kind="test") as seen:
        for _ in range(20):
            seen.wait_for_frames(2)
            after.append(open_things())
            rebuilds = seen.source.status.rebuilds
            seen.source.restart()
            while seen.source.status.rebuilds == rebuilds:
                time.sleep(0.001)
    assert seen.source.status.rebuilds == 20
    assert max(after[10:]) <= max(after[:5])


def test_stop_before_start_is_no_error(clip):
    Source(SourceConfig(kind="file", path=str(clip)), lambda frame: None).stop()
