"""Where the steps leave for each other what they make, and the frames that they share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.bundles.bundle import DEMO_BUNDLE, Bundle, load_bundle, read_manifest
from edge.bundles.manifest import ModelName, Precision
from edge.media import ClipReader, write_still
from edge.types import UInt8Array
from tests.gpu_check.kit.install import FOLDER
from trt_build.graphs import list_images, spread

IMAGES = 50


def folder() -> Path:
    """Everything lies in here; TAPETUM_GPU_CHECK names another place."""
    return Path(os.environ.get("TAPETUM_GPU_CHECK", FOLDER))


def kit_graphs(variant: str) -> Path:
    """Exported graphs that the kit brought, if it did."""
    return folder() / "kit" / "graphs" / variant


def bundle_of(variant: str, precision: Precision) -> Bundle:
    """What the step `prepare` made.

    Raises:
        BundleError: it made none, or not in this precision.
    """
    return load_bundle(folder() / variant / "bundle", precision, allow_refused=True)


def engines_of(variant: str) -> Path:
    """The folder of the variant's engines and cubins."""
    return folder() / variant / "engines"


def images() -> list[Path]:
    """50 real frames: those of the kit, else from the demo clip, evenly over it."""
    brought = folder() / "kit" / "images"
    return spread(list_images(brought if brought.is_dir() else _clip_images()), IMAGES)


def pictures(width: int, height: int) -> list[UInt8Array]:
    """The demo clip's frames at a size, as a camera would give them."""
    reader = ClipReader(DEMO_BUNDLE / "night.mp4")
    chosen = [luma for number, luma in enumerate(reader) if number % 10 == 0][:IMAGES]
    return [np.asarray(cv2.resize(luma, (width, height)), np.uint8) for luma in chosen]


def input_side(network: ModelName) -> int:
    """The side of a network's picture where no graph says it, in pixels: what both variants were trained for."""
    return 256 if network == "colorizer" else 320


def labels() -> Sequence[str]:
    """Of a recognizer that has none of its own."""
    return read_manifest(DEMO_BUNDLE).labels


def _clip_images() -> Path:
    where = folder() / "images"
    if not where.is_dir():
        frames = list(ClipReader(DEMO_BUNDLE / "night.mp4"))
        where.mkdir(parents=True)
        for number, luma in enumerate(spread(frames, IMAGES)):
            write_still(where / f"{number:03}.png", luma)
    return where
