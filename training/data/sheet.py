"""`tapetum-train sheet`: what the imitation of near infrared makes of photographs, as a picture to look at."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.arguments import whole
from edge.errors import ConfigError, InputError
from edge.media import quieten_opencv, write_still
from edge.types import UInt8Array
from training.data.images import find_images, read_rgb
from training.data.nir import luma_of, nir_like
from training.outputs import check_writable
from training.tiles import fit, table

TILE_PX = (200, 300)  # (height, width) that each picture fits

log = logging.getLogger(__name__)


def sheet(options: argparse.Namespace) -> None:
    """Photographs in; a PNG out, a row for each: the photograph, its luma, NIR renderings with different seeds.

    Raises:
        InputError: no photograph can be read.
        TapetumError: the picture cannot be written.
    """
    quieten_opencv()
    if options.out.suffix.lower() != ".png":
        raise ConfigError(f"{options.out}: the sheet is a PNG: give --out a name that ends in .png")
    check_writable(options.out)
    chosen = _some(find_images(options.images, skip_missing=True), options.count, options.seed)
    headings = ["photograph", "luma", *(f"NIR rendering {i + 1}" for i in range(options.renderings))]
    rows = [(file.name, _row(rgb, options.renderings, options.seed + i)) for i, (file, rgb) in enumerate(chosen)]
    write_still(options.out, table(headings, rows)[..., ::-1])


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `sheet`."""
    parser = commands.add_parser("sheet", help="show photographs and their renderings as near infrared")
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs, or a text list of them")
    parser.add_argument("--out", type=Path, required=True, help="picture to write (PNG)")
    parser.add_argument(
        "--count",
        type=whole(1),
        default=8,
        help="photographs, drawn at random, a row each: 100 make a picture of about 2200x23000 pixels",
    )
    parser.add_argument("--renderings", type=whole(1), default=5, help="of each photograph")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.set_defaults(run=sheet)


def _some(files: Sequence[Path], count: int, seed: int) -> list[tuple[Path, UInt8Array]]:
    """Up to `count` readable photographs, drawn at random; broken ones that come up are told."""
    chosen: list[tuple[Path, UInt8Array]] = []
    for index in np.random.default_rng(seed).permutation(len(files)):
        if len(chosen) == count:
            break
        try:
            chosen.append((files[index], read_rgb(files[index])))
        except InputError as error:
            log.warning("%s, skipped", error)
    if not chosen:
        raise InputError(f"none of the {len(files)} images can be read: the first is {files[0]}")
    return chosen


def _row(rgb: UInt8Array, renderings: int, seed: int) -> list[UInt8Array]:
    """The pictures of a row, uint8[H, W, 3] RGB."""
    rgb = fit(rgb, *TILE_PX)
    greys = [luma_of(rgb), *(nir_like(rgb, np.random.default_rng((seed, i))) for i in range(renderings))]
    return [rgb, *(np.repeat(grey[..., None], 3, axis=2) for grey in greys)]
