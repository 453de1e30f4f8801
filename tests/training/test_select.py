"""From a site's frames to a list of photographs: the real demo bundle, real night frames, a small library."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.bundles.bundle import DEMO_BUNDLE
from edge.media import ClipReader, writing_clip
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.training.photographs import write_photographs
from training.__main__ import main
from training.data.images import read_list
from training.selecting.sightings import count_frames, read_frames

NIGHT = DEMO_BUNDLE / "night.mp4"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders called by label, synset and name; one photograph grey, one broken, one twice, one class unknown."""
    folder = tmp_path_factory.mktemp("library")
    for seed, name in enumerate(["sheep", "n02403003", "Border_Collie", "sorrel", "nonsense"]):
        write_photographs(folder / name, 12, seed=seed)
    sheep = sorted((folder / "sheep").iterdir())
    cv2.imwrite(str(sheep[0]), cv2.imread(str(sheep[0]), cv2.IMREAD_GRAYSCALE))
    sheep[1].write_bytes(b"broken")
    cv2.imwrite(str(sheep[2]), cv2.imread(str(sheep[3])), [cv2.IMWRITE_JPEG_QUALITY, 70])
    return folder


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four frames of the demo clip, three seconds apart, and a broken one."""
    folder = tmp_path_factory.mktemp("frames")
    clip = ClipReader(NIGHT)
    for i, luma in enumerate(islice(clip, 0, 300, 75)):
        cv2.imwrite(str(folder / f"{i}.png"), luma)
    clip.close()
    (folder / "broken.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def command(frames: Path, library: Path, bundle: Path, out: Path, *more: object) -> list[str]:
    places = {"--frames": frames, "--library": library, "--bundle": bundle, "--out": out}
    return ["select", *(str(word) for pair in places.items() for word in pair), *map(str, more)]


def test_night_frames_choose_photographs(
    frames: Path, library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, histogram = tmp_path / "list.txt", tmp_path / "seen.png"
    arguments = command(frames, library, DEMO_BUNDLE, listed, "--count", 20, "--histogram", histogram)
    assert main(arguments) == 0
    output = capsys.readouterr()
    assert "in 4 frames" in output.out and "sheep" in output.out
    assert "the library has no class for it" in output.err
    chosen = read_list(listed)
    assert len(chosen) == len(set(chosen)) == 20
    assert {file.parent.name for file in chosen} >= {"sheep"}
    assert "nonsense" not in {file.parent.name for file in chosen}
    assert not {"photo_0_000.jpg", "photo_0_001.jpg"} & {f.name for f in chosen if f.parent.name == "sheep"}
    assert len({"photo_0_002.jpg", "photo_0_003.jpg"} & {f.name for f in chosen if f.parent.name == "sheep"}) < 2
    comments = [line for line in listed.read_text().splitlines() if line.startswith("#")]
    assert all(f"# {line}" in comments for line in output.out.split("\n\n")[1].splitlines())
    picture = cv2.imread(str(histogram))
    assert picture is not None and picture.std() > 10


def test_the_seed_decides(frames: Path, library: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "table.toml").write_text('[labels]\ncat = ["sorrel", "border collie"]\n')
    more = ["--table", tmp_path / "table.toml", "--min-score", "0.2", "--count", "6", "--seed"]
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        assert main(command(frames, library, tiny, tmp_path / name, *more, seed)) == 0
    lists = [read_list(tmp_path / name) for name in "abc"]
    assert lists[0] == lists[1] != lists[2]


def test_a_small_library_gives_what_it_has(
    frames: Path, library: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny bundle sees a cat in every frame; the table has its library show sheep for it."""
    table = tmp_path / "table.toml"
    table.write_text('[labels]\ncat = ["sheep"]\n')
    more = ["--count", "50", "--table", table, "--min-score", "0.2"]
    assert main(command(frames, library, tiny, tmp_path / "list.txt", *more)) == 0
    output = capsys.readouterr()
    assert "9 photographs instead of 50" in output.err
    assert "the library has 12, 1 alike, 1 broken, 1 grey" in output.out
    assert len(read_list(tmp_path / "list.txt")) == 9
    never = ["--never", library / "sheep"]
    assert main(command(frames, library, tiny, tmp_path / "none.txt", *more, *never)) == 3
    assert "no usable photograph" in capsys.readouterr().err
    assert not (tmp_path / "none.txt").exists()


def test_a_label_that_the_table_lacks_is_told(
    frames: Path, library: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.toml"
    table.write_text('[labels]\nship = ["liner"]\n')
    out = tmp_path / "list.txt"
    assert main(command(frames, library, tiny, out, "--table", table, "--min-score", "0.2")) == 3
    errors = capsys.readouterr().err
    assert "label 'cat' is not in the table" in errors and "nothing that was seen is in the library" in errors


@pytest.mark.parametrize(("change", "code", "message"), [
    ({"--frames": "absent"}, 3, "absent: no such folder or video"),
    ({"--frames": "empty"}, 3, "empty: no image in it"),
    ({"--frames": "text"}, 3, "text: not a video"),
    ({"--frames": "broken"}, 3, "no frame could be read"),
    ({"--library": "absent"}, 3, "absent: no such folder"),
    ({"--library": "empty"}, 3, "empty: no folder in it"),
    ({"--library": "hollow"}, 3, "no usable photograph"),
    ({"--never": "empty"}, 3, "no image"),
    ({"--names": "absent"}, 3, "cannot read the names of the classes: No such file or directory"),
    ({"--bundle": "empty"}, 4, "cannot read the bundle's manifest"),
    ({"--precision": "int8", "--bundle": "empty"}, 4, "cannot read the bundle's manifest"),
    ({"--out": "empty"}, 2, "empty is a folder"),
    ({"--out": "absent/list.txt"}, 2, "there is no folder"),
    ({"--histogram": "absent/seen.png"}, 2, "there is no folder"),
    ({"--histogram": "seen.txt"}, 2, "unknown kind of picture"),
    ({"--out": "/proc/list.txt"}, 2, "cannot write to the folder"),
    ({"--table": "absent"}, 2, "cannot read the table"),
    ({"--table": "text"}, 2, "text: not TOML"),
])  # fmt: skip
def test_bad_input_is_one_line(
    change: dict[str, str], code: int, message: str, frames: Path, library: Path, tiny: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name in ("empty", "broken", "hollow/dog"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "text").write_text("neither TOML nor a video\n")
    (tmp_path / "broken" / "a.png").write_bytes(b"broken")
    arguments = command(frames, library, tiny, tmp_path / "list.txt", "--count", "5", "--min-score", "0.2")
    arguments += [str(word) for key, value in change.items() for word in (key, tmp_path / value)]
    if "--precision" in change:
        arguments[arguments.index("--precision") + 1] = change["--precision"]
    assert main(arguments) == code
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tapetum-train: ")]
    assert message in told[-1]
    assert not (tmp_path / "list.txt").exists()


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "many"])
def test_a_count_is_a_whole_number_from_1_on(count: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(command(tmp_path, tmp_path, tmp_path, tmp_path / "list.txt", "--count", count))
    assert stopped.value.code == 2


def test_frames_of_a_video_are_spread_over_it(tmp_path: Path) -> None:
    with writing_clip(tmp_path / "clip.mp4", 25) as writer:
        for level in range(10, 210, 10):
            writer.write(np.full((48, 64, 3), level, np.uint8))
    for wanted, told in ((7, 7), (20, 20), (100, 20), (1, 1)):
        frames = list(read_frames(tmp_path / "clip.mp4", wanted))
        assert len(frames) == count_frames(tmp_path / "clip.mp4", wanted) == told
    first, second, *_ = read_frames(tmp_path / "clip.mp4", 7)
    assert float(second.mean()) - float(first.mean()) == pytest.approx(30, abs=4)


def test_a_video_that_is_cut_short_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(NIGHT.read_bytes()[:500_000])
    frames = list(read_frames(cut, 20))
    assert 0 < len(frames) < count_frames(cut, 20)
    assert f"{cut}: broken after" in caplog.text


def test_ctrl_c_leaves_no_half_list(library: Path, tmp_path: Path) -> None:
    arguments = command(NIGHT, library, DEMO_BUNDLE, tmp_path / "list.txt", "--video-frames", 700)
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    told = ""
    while not re.search(r"[1-9]\d*/700", told):
        told += process.stderr.read(1) or pytest.fail(told)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (told + rest).strip().splitlines()[-1] == "tapetum-train: stopped"
    assert "Traceback" not in told + rest
    assert list(tmp_path.iterdir()) == []
