"""`tapetum-train sheet`: what the imitation of near infrared makes of photographs, as a picture to look at."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from edge.errors import ConfigError, InputError
from edge.media import quieten_opencv, write_still
from edge.types import UInt8Array
from training import arguments
from training.data.images import find_images, read_rgb
from training.data.nir import luma_of, nir_like

TILE_PX = 200  # height of a picture in the sheet

log = logging.getLogger(__name__)


def sheet(options: argparse.Namespace) -> None:
    """Photographs in; a PNG of rows out: the photograph, its luma, and NIR renderings with different seeds.

    Raises:
        InputError: no photograph can be read.
        TapetumError: the picture cannot be written.
    """
    quieten_opencv()
    if options.out.suffix.lower() != ".png":
        raise ConfigError(f"{options.out}: the sheet is a PNG: give --out a name that ends in .png")
    chosen = _some(find_images(options.images), options.count, options.seed)
    rows = [_row(rgb, options.renderings, options.seed + i) for i, rgb in enumerate(chosen)]
    write_still(options.out, _stack(rows))


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `sheet`."""
    parser = commands.add_parser("sheet", help="show photographs and their renderings as near infrared")
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs, or a text list of them")
    parser.add_argument("--out", type=Path, required=True, help="picture to write (PNG)")
    parser.add_argument("--count", type=arguments.whole(1), default=8, help="photographs, drawn at random")
    parser.add_argument("--renderings", type=arguments.whole(1), default=5, help="of each photograph")
    parser.add_argument("--seed", type=arguments.whole(0), default=0)
    parser.set_defaults(run=sheet)


def _some(files: Sequence[Path], count: int, seed: int) -> list[UInt8Array]:
    """Up to `count` readable photographs, drawn at random; broken ones that come up are told."""
    chosen: list[UInt8Array] = []
    for index in np.random.default_rng(seed).permutation(len(files)):
        if len(chosen) == count:
            break
        try:
            chosen.append(read_rgb(files[index]))
        except InputError as error:
            log.warning("%s, skipped", error)
    if not chosen:
        raise InputError(f"none of the {len(files)} images can be read: the first is {files[0]}")
    return chosen


def _row(rgb: UInt8Array, renderings: int, seed: int) -> UInt8Array:
    """uint8[TILE_PX, W, 3] BGR."""
    width = max(1, round(rgb.shape[1] * TILE_PX / rgb.shape[0]))
    rgb = np.asarray(cv2.resize(rgb, (width, TILE_PX), interpolation=cv2.INTER_AREA), np.uint8)
    greys = [luma_of(rgb), *(nir_like(rgb, np.random.default_rng((seed, i))) for i in range(renderings))]
    return np.hstack([rgb[..., ::-1], *(np.repeat(grey[..., None], 3, axis=2) for grey in greys)])


def _stack(rows: Sequence[UInt8Array]) -> UInt8Array:
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 2), (0, width - row.shape[1]), (0, 0))) for row in rows])
