"""The offline job on real files. The tiny bundle says where the bright block of each picture is."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.bundles.bundle import load_bundle
from edge.errors import BundleError, ConfigError, InputError, TapetumError
from edge.kernels.lab_merge import lab_merge_bgr
from edge.media import read_still
from edge.tools.process import process
from edge.vision.networks import Networks
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.waiting import until


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def scene(height: int = 120, width: int = 160, left: int = 40) -> np.ndarray:
    """uint8[height, width]: dark, textured, with a bright block of 32 x 24 pixels at (left, 16)."""
    rows, columns = np.mgrid[:height, :width]
    luma = (60 + (rows + columns) % 40).astype(np.uint8)
    luma[16:40, left : left + 32] = 255
    return luma


def write_image(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def write_clip(path: Path, frames: int = 12, size: tuple[int, int] = (120, 160), codec: str = "mp4v") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 12.5, (width, height))
    for number in range(frames):
        writer.write(cv2.cvtColor(scene(height, width, left=2 * (number % 30)), cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


def detections(out: Path) -> list[dict]:
    return json.loads((out / "detections.json").read_text())


def best(out: Path, name: str) -> dict:
    return max((entry for entry in detections(out) if entry["file_name"] == name), key=lambda entry: entry["score"])


def probe(path: Path) -> dict:
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["streams"][0]


def test_an_image_is_coloured_at_its_own_size(bundle, out, tmp_path):
    image = write_image(tmp_path / "deer.png", scene(121, 163))
    assert process([image], out, bundle) == 0
    coloured = cv2.imread(str(out / "deer.png"))
    with Networks(load_bundle(bundle)) as networks:
        luma = scene(121, 163)
        expected = lab_merge_bgr(luma, networks.colour(luma, networks.context(luma)))
    np.testing.assert_array_equal(coloured, expected)
    assert np.ptp(coloured.astype(int), axis=2).max() > 20, "it has colour"


def test_what_is_in_an_image_is_listed(bundle, out, tmp_path):
    image = write_image(tmp_path / "deer.png", scene(240, 320))
    assert process([image], out, bundle) == 0
    first, second = detections(out)
    assert first.keys() == {"file_name", "label", "bbox", "score"}
    assert (first["file_name"], first["label"], first["score"]) == ("deer.png", "dog", 0.9)
    np.testing.assert_allclose(first["bbox"], [40, 16, 32, 24], atol=1)
    assert second == {"file_name": "deer.png", "label": "cat", "bbox": [10, 10, 40, 40], "score": 0.3}


def test_a_video_becomes_a_colour_video(bundle, out, tmp_path):
    clip = write_clip(tmp_path / "night.avi", codec="MJPG")
    assert process([clip], out, bundle) == 0
    stream = probe(out / "night.mp4")
    assert (stream["width"], stream["height"], stream["nb_read_frames"]) == (160, 120, "12")
    assert stream["avg_frame_rate"] == "25/2"
    reader = cv2.VideoCapture(str(out / "night.mp4"))
    _, frame = reader.read()
    reader.release()
    assert np.ptp(frame.astype(int), axis=2).mean() > 10, "it has colour"
    boxes = {entry["frame"]: entry["bbox"] for entry in detections(out) if entry["label"] == "dog"}
    assert sorted(boxes) == list(range(12))
    np.testing.assert_allclose([boxes[number][0] for number in range(12)], range(0, 24, 2), atol=1.5)


def test_a_video_of_odd_size_is_padded(bundle, out, tmp_path):
    clip = tmp_path / "odd.mkv"
    make = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=161x121:rate=5:duration=1"]
    subprocess.run([*make, "-c:v", "ffv1", str(clip)], check=True)
    assert process([clip], out, bundle) == 0
    stream = probe(out / "odd.mp4")
    assert (stream["width"], stream["height"], stream["nb_read_frames"]) == (162, 122, "5")


def test_a_folder_is_searched_for_images_and_videos(bundle, tmp_path):
    folder = tmp_path / "in"
    write_image(folder / "b.JPG", scene())
    write_image(folder / "deep" / "er" / "a.tiff", scene())
    write_clip(folder / "deep" / "c.mp4", frames=2)
    write_image(folder / ".thumbnails" / "x.png", scene())
    (folder / "notes.txt").write_text("no picture")
    out = folder / "out"
    for _ in range(2):  # the second time, what lies in out is not taken for input
        assert process([folder, folder / "b.JPG"], out, bundle) == 0
        assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png", "c.mp4", "detections.json"]
        assert {entry["file_name"] for entry in detections(out)} == {"b.JPG", "a.tiff", "c.mp4"}


def test_the_same_stem_twice_gets_a_number(bundle, out, tmp_path):
    one = write_image(tmp_path / "one" / "cam.png", scene(40, 64, left=0))
    two = write_image(tmp_path / "two" / "cam.jpg", scene(48, 72, left=0))
    three = write_image(tmp_path / "three" / "cam.png", scene(56, 80, left=0))
    taken = write_image(tmp_path / "three" / "cam_2.png", scene(64, 96, left=0))
    clip = write_clip(tmp_path / "cam.mp4", frames=1)
    assert process([one, two, three, taken, clip], out, bundle) == 0
    heights = {path.name: cv2.imread(str(path)).shape[0] for path in out.glob("*.png")}
    assert heights == {"cam.png": 40, "cam_2.png": 48, "cam_3.png": 56, "cam_2_2.png": 64}
    assert (out / "cam.mp4").exists()
    names = [entry["file_name"] for entry in detections(out) if entry["label"] == "dog"]
    assert names == ["cam.png", "cam.jpg", "cam.png", "cam_2.png", "cam.mp4"]


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_an_image_lies_as_it_is_meant_to_be_looked_at(bundle, out, tmp_path):
    upright = scene(160, 120)
    _, jpeg = cv2.imencode(".jpg", cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE))
    (tmp_path / "phone.jpg").write_bytes(with_orientation(jpeg.tobytes(), 6))
    assert process([tmp_path / "phone.jpg"], out, bundle) == 0
    assert cv2.imread(str(out / "phone.png")).shape == (160, 120, 3)
    np.testing.assert_allclose(best(out, "phone.jpg")["bbox"], [40, 16, 32, 24], atol=2)


def test_sixteen_bits_alpha_and_colour_are_luma_too(bundle, out, tmp_path):
    luma = scene()
    colour = np.dstack([luma // 2, luma, luma // 4 * 3])
    write_image(tmp_path / "grey.png", luma)
    write_image(tmp_path / "deep.png", luma.astype(np.uint16) * 257)
    write_image(tmp_path / "alpha.png", np.dstack([luma, luma, luma, luma // 2]))
    write_image(tmp_path / "colour.png", colour)
    write_image(tmp_path / "luma.png", cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY))
    assert process([tmp_path], out, bundle) == 0
    results = {path.stem: cv2.imread(str(path)).astype(int) for path in out.glob("*.png")}
    for name, same_as in {"deep": "grey", "alpha": "grey", "colour": "luma"}.items():
        assert np.abs(results[name] - results[same_as]).max() <= 3, name


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (3000, 2)])
def test_an_image_may_have_any_size(bundle, out, tmp_path, size):
    image = write_image(tmp_path / "strip.png", np.full(size, 90, np.uint8))
    assert process([image], out, bundle) == 0
    assert cv2.imread(str(out / "strip.png")).shape == (*size, 3)


def test_the_precision_is_used(bundle, out, tmp_path):
    image = write_image(tmp_path / "deer.png", scene())
    for precision in ("fp32", "int8"):
        assert process([image], out / precision, bundle, precision) == 0
        assert best(out / precision, "deer.png")["label"] == "dog"


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


BROKEN = {
    "empty.png": lambda path: path.touch(),
    "text.jpg": lambda path: path.write_text("not an image"),
    "half.png": lambda path: cut(write_image(path, scene()), 0.5),
    "float.tiff": lambda path: write_image(path, scene().astype(np.float32)),
    "empty.mp4": lambda path: path.touch(),
    "text.avi": lambda path: path.write_text("not a video" * 1000),
    "no-index.mp4": lambda path: cut(write_clip(path), 0.5),
    "loop.png": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_reported_and_skipped(bundle, out, tmp_path, name, capfd):
    folder = tmp_path / "in"
    write_image(folder / "a.png", scene())
    BROKEN[name](folder / name)
    write_image(folder / "z.png", scene())
    assert process([folder], out, bundle) == 3
    complaints = [line for line in capfd.readouterr().err.replace("\r", "\n").splitlines() if "tapetum-edge:" in line]
    assert len(complaints) == 1
    assert name in complaints[0]
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "detections.json", "z.png"]
    assert {entry["file_name"] for entry in detections(out)} == {"a.png", "z.png"}


def test_a_video_that_breaks_off_is_kept_as_far_as_it_goes(bundle, out, tmp_path, capfd):
    clip = cut(write_clip(tmp_path / "short.avi", frames=100, codec="MJPG"), 0.5)
    assert process([clip], out, bundle) == 3
    kept = int(probe(out / "short.mp4")["nb_read_frames"])
    assert 30 < kept < 70
    assert f"broken after {kept} of 100 frames" in capfd.readouterr().err
    assert max(entry["frame"] for entry in detections(out)) == kept - 1


def test_what_is_no_input_is_reported_and_the_rest_is_done(bundle, out, tmp_path, capfd):
    image = write_image(tmp_path / "a.png", scene())
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    assert process([tmp_path / "nowhere.png", tmp_path / "notes.txt", tmp_path / "empty", image], out, bundle) == 3
    errors = capfd.readouterr().err
    assert "nowhere.png: no such file or folder" in errors
    assert "notes.txt: neither an image nor a video by its suffix" in errors
    assert "empty: no images or videos in this folder" in errors
    assert (out / "a.png").exists()


def test_nothing_to_do_is_an_input_error(bundle, out, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.png: no such file or folder"):
        process([tmp_path / "nowhere.png"], out, bundle)
    assert not out.exists()


def test_an_input_is_never_overwritten(bundle, tmp_path):
    write_image(tmp_path / "b.jpg", scene())
    image = write_image(tmp_path / "a.png", scene())
    before = image.read_bytes()
    with pytest.raises(ConfigError, match=r"a\.png is an input and would be overwritten: choose another"):
        process([tmp_path], tmp_path, bundle)
    assert image.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.jpg"]


def test_results_may_lie_beside_inputs_of_other_names(bundle, tmp_path):
    write_image(tmp_path / "b.jpg", scene())
    assert process([tmp_path], tmp_path, bundle) == 0
    assert (tmp_path / "b.png").exists()


def test_an_output_folder_that_cannot_be_written_is_one_line(bundle, tmp_path):
    image = write_image(tmp_path / "a.png", scene())
    for out in (image, image / "below", Path("/proc")):
        with pytest.raises(TapetumError, match="cannot write to the output folder") as caught:
            process([image], out, bundle)
        assert caught.value.exit_code == 1


def test_a_bad_bundle_leaves_nothing_behind(out, tmp_path):
    image = write_image(tmp_path / "a.png", scene())
    with pytest.raises(BundleError):
        process([image], out, tmp_path / "no-bundle")
    assert not out.exists()


def test_progress_is_shown(bundle, out, tmp_path, capfd):
    process([write_image(tmp_path / "a.png", scene()), write_clip(tmp_path / "c.mp4", frames=2)], out, bundle)
    shown = capfd.readouterr()
    assert "2/2" in shown.err
    assert "c.mp4" in shown.err
    assert shown.out == ""


def test_ctrl_c_leaves_what_is_finished(bundle, out, tmp_path):
    image = write_image(tmp_path / "first.png", scene())
    clip = write_clip(tmp_path / "long.mp4", frames=3000, size=(48, 64))
    script = "import sys; from pathlib import Path; from edge.tools.process import process; "
    script += "inputs = [Path(name) for name in sys.argv[3:]]; "
    script += "sys.exit(process(inputs, Path(sys.argv[1]), Path(sys.argv[2])))"
    command = [sys.executable, "-c", script, str(out), str(bundle), str(image), str(clip)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ, text=True) as run:
        deadline = time.monotonic() + 30
        while not list(out.glob(".long.*.mp4")) and time.monotonic() < deadline and run.poll() is None:
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=30)
    assert run.returncode == 130, errors
    assert "Traceback" not in errors
    assert sorted(path.name for path in out.iterdir()) == ["detections.json", "first.png"]
    assert {entry["file_name"] for entry in detections(out)} == {"first.png"}


def decoders() -> list[int]:
    """The process ids of our decoders."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(child) for child in children if b"decoder" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_decoder_that_crashes_costs_its_file_alone(
    number: signal.Signals, bundle: Path, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """C code that a broken file leads astray, or that takes all memory."""
    inputs = [write_image(tmp_path / "a.png", scene()), write_clip(tmp_path / "b.mp4", frames=400, size=(48, 64))]
    inputs += [write_image(tmp_path / "c.png", scene())]

    def crash() -> None:
        until(lambda: list(out.glob(".b.*.mp4")))
        for decoder in decoders():
            os.kill(decoder, number)

    saboteur = threading.Thread(target=crash)
    saboteur.start()
    assert process(inputs, out, bundle) == 3
    saboteur.join()
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "c.png", "detections.json"]
    assert f"b.mp4: its decoder crashed ({number.name}): the file is damaged: leave it out" in capfd.readouterr().err
    assert decoders() == [], "none is left behind"


def test_decoders_say_nothing_of_their_own(
    bundle: Path, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """libpng and libjpeg write on stderr, and OpenCV gives no way to stop them."""
    for suffix in (".png", ".jpg"):
        data = bytearray(cv2.imencode(suffix, np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))[1])
        data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
        (tmp_path / f"spoilt{suffix}").write_bytes(data)
    process([tmp_path / "spoilt.png", tmp_path / "spoilt.jpg", write_image(tmp_path / "a.png", scene())], out, bundle)
    told = capfd.readouterr().err
    assert "libpng" not in told and "JPEG" not in told, told
    with suppress(InputError):
        read_still(tmp_path / "spoilt.png")
    assert "libpng" in capfd.readouterr().err, "it would have complained here"


def test_a_png_that_is_cut_short_gets_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))[1].tobytes()
    path = tmp_path / "short.png"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"short\.png: not an image, or cut short"):
        read_still(path)
    assert capfd.readouterr().err == ""
