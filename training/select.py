"""`tapetum-train select`: the paper's training idea. What a site's night frames show chooses the colour photographs.

The recognizer and the context network of a bundle look at the site's frames; a table maps what they saw to the
classes of a photo library; from those a balanced list of photographs is drawn, for `colorizer --list` to train on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from edge.arguments import number, whole
from edge.bundles.bundle import PrecisionChoice, load_bundle
from edge.errors import InputError
from edge.media import quieten_opencv
from edge.vision.networks import Networks
from training.data.images import list_images
from training.data.labels import DEFAULT_TABLE, Meaning, read_table
from training.data.library import LibraryClass, of_index, of_label, read_library
from training.outputs import check_pictures, check_writable
from training.selecting.draw import Share, Sieve, draw
from training.selecting.selection import draw_histogram, seen_table, share_table, write_list
from training.selecting.sightings import Sightings, count_frames, look, read_frames


def select(options: argparse.Namespace) -> None:
    """Frames, bundle and library in; a commented list of photographs out.

    Raises:
        InputError: no frame can be read, or the library has no usable photograph of what they show.
        ConfigError: the table is wrong, or an output cannot be written where it is wanted.
    """
    quieten_opencv()
    check_writable(options.out)
    check_pictures(options.histogram)
    table, library = read_table(options.table), read_library(options.library, options.names)
    sieve = Sieve(list_images(options.never) if options.never else [])
    sightings = _look(options)
    print("\n".join(seen_table(sightings)), flush=True)
    if options.histogram:
        draw_histogram(sightings, options.histogram)
    shares = _shares(sightings, library, table, options.min_frames)
    _draw(shares, sieve, options)
    explained = share_table(shares)
    print("\n".join(["", *explained]))
    write_list(options.out, shares, [_summary(shares, sightings, options), *explained])


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `select`."""
    parser = commands.add_parser("select", help="choose photographs that show what a site's frames show")
    parser.add_argument("--frames", type=Path, required=True, help="folder of a site's images, or a video of it")
    parser.add_argument("--library", type=Path, required=True, help="photographs, a folder per class")
    parser.add_argument("--bundle", type=Path, required=True, help="model bundle whose networks look at the frames")
    parser.add_argument("--precision", choices=get_args(PrecisionChoice), default="auto")
    parser.add_argument("--count", type=whole(1), default=750, help="photographs (paper: 500 to 1000)")
    parser.add_argument("--out", type=Path, required=True, help="text file for the list")
    parser.add_argument("--table", type=Path, default=DEFAULT_TABLE, help="TOML: label -> classes of the library")
    parser.add_argument("--names", type=Path, help='text file that names the library\'s folders: "FOLDER name, name"')
    parser.add_argument("--never", type=Path, nargs="*", help="folders whose images must not be drawn")
    parser.add_argument("--histogram", type=Path, help="picture of what was seen")
    parser.add_argument("--min-score", type=number(0.01, 1), default=0.4, help="of an object that counts")
    parser.add_argument("--min-frames", type=whole(1), default=3, help="frames that assure a class of a least share")
    parser.add_argument("--video-frames", type=whole(1), default=200, help="frames to take of a video")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.set_defaults(run=select)


def _look(options: argparse.Namespace) -> Sightings:
    total = count_frames(options.frames, options.video_frames)
    with Networks(load_bundle(options.bundle, options.precision)) as networks:
        frames = read_frames(options.frames, options.video_frames)
        return look(tqdm(frames, total=total or None, unit="frame", file=sys.stderr), networks, options.min_score)


def _shares(
    sightings: Sightings, library: Sequence[LibraryClass], table: dict[str, Meaning], min_frames: int
) -> list[Share]:
    """What was seen and the library has; the rest is told.

    Raises:
        InputError: the library has nothing of it.
    """
    shares: list[Share] = []
    for seen in sightings.seen:
        is_label = seen.kind == "label"
        if is_label and seen.name not in table:
            _note(f"label {seen.name!r} is not in the table: only a folder of that name can serve it")
        classes = of_label(library, seen.name, table) if is_label else of_index(library, seen.index, table)
        folders = [each.folder for each in classes]
        if not folders:
            _note(f"{seen.kind} {seen.name!r}: the library has no class for it, passed over")
        elif same := next((share for share in shares if share.folders == folders), None):
            same.also.append(f"{seen.kind} {seen.name}")
        else:
            shares.append(Share(seen, folders, assured=seen.frames >= min_frames))
    if not shares:
        raise InputError("nothing that was seen is in the library: see --table, and the folder names of --library")
    return shares


def _draw(shares: Sequence[Share], sieve: Sieve, options: argparse.Namespace) -> None:
    with tqdm(total=options.count, unit="photo", file=sys.stderr, leave=False) as bar:
        draw(shares, options.count, sieve, seed=options.seed, tick=bar.update)
    drawn = sum(len(share.drawn) for share in shares)
    if not drawn:
        raise InputError(f"{options.library}: no usable photograph of what was seen: all are broken, grey or alike")
    if drawn < options.count:
        _note(f"{drawn} photographs instead of {options.count}: the library has no more that fit and differ")


def _summary(shares: Sequence[Share], sightings: Sightings, options: argparse.Namespace) -> str:
    drawn = sum(len(share.drawn) for share in shares)
    return (
        f"{drawn} photographs for {options.frames.name} ({sightings.frames} frames), chosen by tapetum-train select "
        f"--count {options.count} --seed {options.seed}"
    )


def _note(text: str) -> None:
    print(f"tapetum-train: {text}", file=sys.stderr)
