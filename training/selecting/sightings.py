"""What a site's camera sees: the recognizer's labels and the context network's classes, over many frames."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.media import IMAGE_SUFFIXES, ClipReader, read_still
from edge.types import Float32Array, Int64Array, UInt8Array
from edge.vision.networks import Networks
from training.data.imagenet import imagenet_classes

CONTEXT_CLASSES = 10  # scene classes that are taken up, the most probable ones
PROBABLE = 0.05  # from here on a scene class counts as seen in a frame
_STEP_UNKNOWN = 25  # between frames of a video that does not tell its length

Float64Array = npt.NDArray[np.float64]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sighting:
    """One thing seen.

    index: of the label, or of the ImageNet class; frames: in how many it was seen; weight: a label's share of the
    frames, or a scene class's mean probability, 0..1.
    """

    kind: Literal["label", "scene"]
    index: int
    name: str
    frames: int
    weight: float


@dataclass(frozen=True)
class Sightings:
    """Everything seen in `frames` frames, labels first, each kind by falling weight."""

    frames: int
    seen: list[Sighting]


def look(frames: Iterable[UInt8Array], networks: Networks, min_score: float) -> Sightings:
    """Run the recognizer and the context network over frames uint8[H, W].

    Raises:
        InputError: there is no frame.
        BundleError: the networks and the manifest do not fit together.
    """
    labels: Counter[int] = Counter()
    mean, probable, total = np.zeros(1000), np.zeros(1000, np.int64), 0
    for luma in frames:
        labels.update(set(networks.detect(luma, min_score).labels.tolist()))
        probability = _softmax(networks.context(luma)[0])
        mean, probable, total = mean + probability, probable + (probability >= PROBABLE), total + 1
    if not total:
        raise InputError("no frame could be read: give --frames a folder of images or a video")
    seen = [Sighting("label", i, networks.labels[i], n, n / total) for i, n in labels.most_common()]
    return Sightings(total, seen + _scene_classes(mean / total, probable))


def count_frames(source: Path, of_video: int) -> int:
    """How many frames `read_frames` is going to yield, or 0 where a video does not tell.

    Raises:
        InputError: nothing there to read frames from.
    """
    if source.is_dir():
        return len(_stills(source))
    with closing(ClipReader(_existing(source))) as clip:
        return math.ceil(clip.frames / _step(clip, of_video))


def read_frames(source: Path, of_video: int) -> Iterator[UInt8Array]:
    """The images of a folder, or up to `of_video` frames spread over a video, as luma uint8[H, W].

    Broken images, and where a video breaks off, are told and passed over.

    Raises:
        InputError: nothing there to read frames from.
    """
    if source.is_dir():
        yield from _readable(_stills(source))
        return
    with closing(ClipReader(_existing(source))) as clip:
        step, read = _step(clip, of_video), 0
        for read, luma in enumerate(islice(clip, of_video * step), 1):
            if read % step == 1 or step == 1:
                yield luma
        if clip.lacks(read):
            log.warning("%s: broken after %d of %d frames: looked at up to there", source, read, clip.frames)


def _step(clip: ClipReader, of_video: int) -> int:
    return math.ceil(clip.frames / of_video) if clip.frames else _STEP_UNKNOWN


def _existing(source: Path) -> Path:
    if not source.is_file():
        raise InputError(f"{source}: no such folder or video")
    return source


def _stills(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise InputError(f"{folder}: no image in it: give --frames a folder of images or a video")
    return files


def _readable(files: Iterable[Path]) -> Iterator[UInt8Array]:
    for file in files:
        try:
            yield read_still(file)
        except InputError as error:
            log.warning("%s, skipped", error)


def _softmax(logits: Float32Array) -> Float32Array:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), np.float32)


def _scene_classes(mean: Float64Array, probable: Int64Array) -> list[Sighting]:
    best = [i for i in np.argsort(-mean)[:CONTEXT_CLASSES].tolist() if probable[i]]
    names = imagenet_classes()
    return [Sighting("scene", i, names[i].names[0], int(probable[i]), float(mean[i])) for i in best]
