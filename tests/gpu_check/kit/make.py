"""A kit, made where there is a package index: `make gpu-kit OUT=kit [ARGS="--part-mib 60 --python 3.12"]`.

    python -m tests.gpu_check.kit.make KIT [--python 3.12] [--machine x86_64] [--without GROUP...] [--part-mib N]
                                           [--graphs VARIANT=FOLDER...] [--images FOLDER|LIST.txt]

Without --graphs the networks of the check have random weights, made by PyTorch on the machine; without --images it
takes frames of the demo clip.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from tests.gpu_check.kit.contents import GROUPS, target_options, this_python
from tests.gpu_check.kit.parts import KitError, pack, write_manifest

DOWNLOAD_S = 1800
IMAGES = 50


def make(
    kit: Path,
    groups: Sequence[str],
    *,
    python: str,
    machine: str,
    data: Iterable[tuple[str, Path]] = (),
    part_bytes: int | None = None,
) -> int:
    """Download the groups for a Python and a machine and pack them with `data`; returns the bytes of all.

    Raises:
        KitError: the folder holds something already, or pip could not download.
    """
    if kit.exists() and any(kit.iterdir()):
        raise KitError(f"{kit} is not empty: give a new folder")
    with tempfile.TemporaryDirectory() as scratch:
        wheels = Path(scratch)
        _download(groups, target_options(python, machine), wheels)
        files = [*((f"wheels/{wheel.name}", wheel) for wheel in sorted(wheels.iterdir())), *data]
        packed = pack(files, kit, part_bytes)
    write_manifest(kit, packed, _about(groups, python, machine))
    return sum(piece.bytes for file in packed for piece in file.pieces)


def _about(groups: Sequence[str], python: str, machine: str) -> dict[str, object]:
    return {
        "schema": 1,
        "python": python,
        "machine": machine,
        "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "groups": list(groups),
        "requirements": [requirement for name in groups for requirement in GROUPS[name].installed],
    }


def _download(groups: Sequence[str], target: Sequence[str], wheels: Path) -> None:
    chosen = [GROUPS[name] for name in groups]
    _pip([each for group in chosen for each in group.installed], [*target], wheels)
    for requirement in (each for group in chosen for each in group.unpacked):  # each by itself: they do not agree
        _pip([requirement], ["--no-deps", *target], wheels)
    for requirement in (each for group in chosen for each in group.sources):
        _pip([requirement], ["--no-deps", "--no-binary", requirement.partition("==")[0]], wheels)


def _pip(requirements: Sequence[str], options: Sequence[str], wheels: Path) -> None:
    if not requirements:
        return
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(wheels), *options, *requirements]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=DOWNLOAD_S, check=False)
    if done.returncode:
        raise KitError(f"pip cannot download {' '.join(requirements)}: {done.stderr.strip()[-500:]}")


def data_files(graphs: Sequence[str], images: Path | None) -> Iterator[tuple[str, Path]]:
    """What --graphs and --images name, and its place in the kit.

    Raises:
        KitError: there is no such folder, or nothing in it.
    """
    for text in graphs:
        variant, _, folder = text.partition("=")
        found = [file for suffix in ("onnx", "json") for file in sorted(Path(folder).glob(f"*.{suffix}")) if folder]
        if not found:
            raise KitError(f"--graphs {text}: no graphs there: give VARIANT=FOLDER, as tapetum-build export wrote it")
        yield from ((f"graphs/{variant}/{file.name}", file) for file in found)
    for number, file in enumerate(_images(images) if images else ()):
        yield f"images/{number:03}{file.suffix}", file


def _images(where: Path) -> list[Path]:
    from edge.errors import TapetumError
    from trt_build.graphs import list_images, spread

    try:
        return spread(list_images(where), IMAGES)
    except TapetumError as error:
        raise KitError(str(error)) from error


def main() -> int:
    """Command line; returns the exit code."""
    options = _options()
    groups = [name for name in GROUPS if name not in options.without]
    part_bytes = None if options.part_mib is None else options.part_mib << 20
    try:
        data = list(data_files(options.graphs, options.images))
        total = make(
            options.kit, groups, python=options.python, machine=options.machine, data=data, part_bytes=part_bytes
        )
    except KitError as error:
        print(f"gpu-kit: {error}", file=sys.stderr)
        return 1
    parts = sorted(path.name for path in options.kit.iterdir())
    print(f"wrote {options.kit}: {total / 2**20:.0f} MiB in {len(parts)} parts: {', '.join(groups)}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path, help="new folder")
    parser.add_argument("--python", default=this_python(), help="of the GPU machine; %(default)s")
    parser.add_argument("--machine", choices=["x86_64", "aarch64"], default=platform.machine())
    parser.add_argument(
        "--without", nargs="+", choices=GROUPS, default=[], metavar="GROUP", help=f"leave out: {', '.join(GROUPS)}"
    )
    parser.add_argument("--part-mib", type=_at_least_2, help="largest size of a part; without it there is one")
    parser.add_argument("--graphs", nargs="+", default=[], metavar="VARIANT=FOLDER", help="exported networks")
    parser.add_argument("--images", type=Path, help=f"real frames to compare on; {IMAGES} of them are taken")
    return parser.parse_args()


def _at_least_2(text: str) -> int:
    if int(text) < 2:
        raise ValueError(text)
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
