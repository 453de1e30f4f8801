"""`tapetum-edge process`: colour and detect in images, folders and video files.

Each image gives OUT/<stem>.png at its own size, each video OUT/<stem>.mp4; a second input of the same stem gives
<stem>_2, the next <stem>_3, in the order of the inputs (folders: sorted by path). OUT/detections.json lists what was
found in all of them, under the inputs' own file names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile

from tqdm import tqdm

from edge.atomic import write_atomic
from edge.bundles.bundle import DEMO_BUNDLE, PrecisionChoice, load_bundle
from edge.errors import InputError, TapetumError
from edge.kernels.lab_merge import lab_merge_bgr
from edge.media import quieten_opencv, write_still, writing_clip
from edge.tools.decoder import Decoder
from edge.tools.jobs import Job, plan
from edge.types import Detections
from edge.vision.networks import Networks
from edge.vision.scene import with_chroma

MIN_SCORE = 0.05
SOME_BROKEN = InputError.exit_code
INTERRUPTED = 130


def process(
    inputs: Sequence[Path],
    out: Path,
    bundle: Path = DEMO_BUNDLE,
    precision: PrecisionChoice = "auto",
    *,
    allow_refused: bool = False,
) -> int:
    """Process all inputs; report a broken one on stderr and go on.

    Args:
        inputs: images, videos, and folders of them (searched recursively; hidden files and `out` are left out).
        out: folder for the results, made if absent.
        bundle: folder of the model bundle.
        precision: of the networks; "auto" is the bundle's choice.
        allow_refused: also a precision that the bundle's gate refused.

    Returns:
        Exit code: 0, 3 when some input was broken, or 130 after Ctrl-C: what was finished by then is in `out`.

    Raises:
        InputError: there is nothing to process.
        ConfigError: a result would overwrite an input.
        BundleError: the bundle cannot be used.
        TapetumError: `out` cannot be written.
    """
    jobs, complaints = plan(inputs, out)
    checked = load_bundle(bundle, precision, allow_refused=allow_refused)
    _prepare(out)
    quieten_opencv()
    with Networks(checked) as networks, Decoder() as decoder:
        run = _Run(networks, decoder)
        for complaint in complaints:
            run.complain(complaint)
        finished = run.do_all(jobs)
    _write(out / "detections.json", run.found)
    if not finished:
        return INTERRUPTED
    return SOME_BROKEN if run.complaints else 0


class _Run:
    """What one run has found (JSON objects, one a string: a long video has many) and complained about."""

    def __init__(self, networks: Networks, decoder: Decoder) -> None:
        self._networks = networks
        self._decoder = decoder
        self.found: list[str] = []
        self.complaints = 0

    def do_all(self, jobs: Sequence[Job]) -> bool:
        """Do the jobs one after the other; False when Ctrl-C came first."""
        try:
            for job in tqdm(jobs, unit="file", file=sys.stderr):
                self._do(job)
        except KeyboardInterrupt:
            return False
        return True

    def complain(self, complaint: str) -> None:
        self.complaints += 1
        tqdm.write(f"tapetum-edge: {complaint}", file=sys.stderr)

    def _do(self, job: Job) -> None:
        try:
            self.found += self._clip(job) if job.is_clip else self._still(job)
        except InputError as error:
            self.complain(str(error))

    def _still(self, job: Job) -> list[str]:
        networks = self._networks
        luma = self._decoder.still(job.source)
        ab = networks.colour(luma, networks.context(luma))
        found = networks.detect(luma, MIN_SCORE)
        write_still(job.target, lab_merge_bgr(luma, ab))
        return _entries(job, found, networks.labels)

    def _clip(self, job: Job) -> list[str]:
        networks = self._networks
        found: list[str] = []
        frames = 0
        with closing(self._decoder.clip(job.source)) as clip, writing_clip(job.target, clip.fps) as writer:
            total = clip.frames or None
            bar = tqdm(clip, job.source.name, total, unit="frame", leave=False, file=sys.stderr)
            for luma, ab in with_chroma(networks, bar, clip.fps):
                writer.write(lab_merge_bgr(luma, ab))
                found += _entries(job, networks.detect(luma, MIN_SCORE), networks.labels, frames)
                frames += 1
            if frames == 0:
                raise InputError(f"{job.source}: a video without a frame that can be decoded")
        if clip.lacks(frames):
            self.complain(f"{job.source}: broken after {frames} of {clip.frames} frames: {job.target} ends there")
        return found


def _entries(job: Job, found: Detections, labels: Sequence[str], frame: int | None = None) -> list[str]:
    """One JSON object for each box, with [x, y, width, height] in pixels."""
    entries = []
    for box, label, score in zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True):
        left, top, right, bottom = box
        entry: dict[str, object] = {
            "file_name": job.source.name,
            "label": labels[label],
            "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
            "score": round(score, 4),
        }
        if frame is not None:
            entry["frame"] = frame
        entries.append(json.dumps(entry))
    return entries


def _prepare(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise TapetumError(f"{out}: cannot write to the output folder: {error.strerror}") from error


def _write(path: Path, entries: Sequence[str]) -> None:
    text = "[\n" + ",\n".join(entries) + "\n]\n"
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise TapetumError(f"{path}: cannot write: {error.strerror}") from error
