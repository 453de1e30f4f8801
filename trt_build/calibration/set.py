"""A calibration set on disk.

::

    <set>/frames/00001.jpg ...   copies of the frames, in their order
    <set>/calibration.json      how many, and the sha256 of their contents: what a bundle's manifest will say
    <set>/report.json           where each frame comes from, what was left out and why, what light the set has seen
    <set>/sheet.png, histogram.png
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from edge.bundles.manifest import Calibration
from edge.errors import InputError, TapetumError
from edge.media import read_still, write_still
from trt_build.calibration.fingerprints import NEAR_BITS, Known, fingerprint
from trt_build.calibration.frames import Candidate, contents, list_candidates
from trt_build.calibration.hygiene import FEWEST, Coverage, Sorted, sort
from trt_build.calibration.sheet import contact_sheet, histogram_chart
from trt_build.graphs import spread

CALIBRATION, REPORT, FRAMES = "calibration.json", "report.json", "frames"


@dataclass(frozen=True)
class CalibrationSet:
    """Frames in their order, and what a manifest says of them."""

    frames: list[Path]
    calibration: Calibration


@dataclass(frozen=True)
class Made:
    """A set that was written, and how it came about."""

    calibration: Calibration
    coverage: Coverage
    found: Sorted


def make_set(
    where: Path, out: Path, *, count: int, validation: Sequence[Path] = (), near_bits: int = NEAR_BITS
) -> Made:
    """Choose frames and write a set.

    Args:
        where: frames: a folder of images, a .txt list of them, or a clip.
        out: a folder that does not exist yet, or is empty.
        count: how many frames to take, spread over those that are usable.
        validation: images that accuracy is measured on; they must not be among the frames.
        near_bits: how many of a difference hash's 64 bits may differ in pictures that count as the same.

    Raises:
        OverlapError: a frame is, or looks like, a validation image.
        InputError: there is nothing to read, too few frames are usable, or `out` holds something.
        TapetumError: the set cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is there already: remove it, or choose a new folder for the set")
    known = _known(validation, near_bits)
    total, candidates = list_candidates(where, count)
    looking = tqdm(candidates, "looking at frames", total, unit="frame", disable=None)
    found = sort(looking, known, near_bits)
    chosen = spread(found.usable, count)
    coverage = Coverage.of(chosen)
    with _new_folder(out) as folder:
        calibration = _write_frames(folder / FRAMES, chosen)
        (folder / CALIBRATION).write_text(calibration.model_dump_json() + "\n", encoding="utf-8")
        report = _report(calibration, coverage, found, chosen)
        (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        write_still(folder / "sheet.png", contact_sheet(chosen))
        write_still(folder / "histogram.png", histogram_chart(chosen, coverage))
    return Made(calibration, coverage, found)


def read_set(folder: Path) -> CalibrationSet:
    """Read a set, and check that it holds what was written.

    Raises:
        InputError: it is not a calibration set, is too small, or was altered.
    """
    path = folder / CALIBRATION
    try:
        calibration = Calibration.model_validate_json(path.read_text(encoding="utf-8"))
        frames = sorted((folder / FRAMES).iterdir())
        digest = _digest(frame.read_bytes() for frame in frames)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: not a calibration set ({_line(error)}): run tapetum-build calibrate") from error
    if (len(frames), digest) != (calibration.images, calibration.sha256):
        raise InputError(f"{folder}: its frames are not those that were chosen: run tapetum-build calibrate again")
    if len(frames) < FEWEST:
        raise InputError(f"{folder}: {len(frames)} frames: at least {FEWEST} are needed: run tapetum-build calibrate")
    return CalibrationSet(frames, calibration)


def _line(error: Exception) -> str:
    return f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error).splitlines()[0]


def _known(validation: Sequence[Path], near_bits: int) -> Known:
    """The fingerprints of the validation images."""
    known = Known(near_bits)
    for image in tqdm(validation, "looking at validation images", unit="image", disable=None if validation else True):
        luma = read_still(image)
        known.add(image, fingerprint(image.read_bytes(), luma))
    return known


def _write_frames(folder: Path, chosen: Sequence[Candidate]) -> Calibration:
    folder.mkdir()
    for number, (suffix, content) in enumerate(contents(chosen), start=1):
        (folder / f"{number:05d}{suffix}").write_bytes(content)
    written = sorted(folder.iterdir())
    return Calibration(images=len(written), sha256=_digest(path.read_bytes() for path in written))


def _digest(contents: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return digest.hexdigest()


def _report(
    calibration: Calibration, coverage: Coverage, found: Sorted, chosen: Sequence[Candidate]
) -> dict[str, object]:
    return {
        "frames": calibration.images,
        "sha256": calibration.sha256,
        "sources": [str(frame.source) for frame in chosen],
        "usable": len(found.usable),
        "duplicates": [{"frame": str(frame), "like": str(twin)} for frame, twin in found.duplicates],
        "corrupt": found.corrupt,
        "night_share": round(coverage.night, 4),
        "level_share": round(coverage.levels, 4),
        "dark_share": round(coverage.dark, 4),
        "bright_share": round(coverage.bright, 4),
        "warnings": coverage.warnings(),
    }


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` when the block ends well, and is removed when it does not."""
    place = out.resolve()
    temporary = place.with_name(f".{place.name}.new")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(place)
    except OSError as error:
        raise TapetumError(f"{out}: cannot write the set: {error.strerror}: nothing was written") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
