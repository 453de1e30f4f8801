"""What a selection looks like: tables for the terminal, a histogram, and the commented list of photographs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

from edge.atomic import write_atomic
from edge.errors import TapetumError
from training.selecting.draw import Share
from training.selecting.sightings import Sightings

_FOLDERS_TOLD = 3


def seen_table(sightings: Sightings) -> list[str]:
    """What was seen, as lines of aligned columns with a bar each."""
    rows = [("seen", "name", "frames", "weight", "")]
    for seen in sightings.seen:
        rows.append((seen.kind, seen.name, str(seen.frames), f"{seen.weight:.1%}", "#" * round(30 * seen.weight)))
    return [f"in {sightings.frames} frames", *_aligned(rows, right={2, 3})]


def share_table(shares: Sequence[Share]) -> list[str]:
    """Each class's share of the list and why it is what it is, as lines of aligned columns."""
    rows = [("seen", "name", "frames", "wanted", "drawn", "remark", "from")]
    for share in shares:
        numbers = (str(share.seen.frames), str(share.wanted), str(len(share.drawn)))
        rows.append((share.seen.kind, share.seen.name, *numbers, share.why(), _told(share.folders)))
    return _aligned(rows, right={2, 3, 4})


def write_list(path: Path, shares: Sequence[Share], explained: Iterable[str]) -> None:
    """Write a list for `read_list`: the explanation as comments, then the photographs class by class.

    Raises:
        TapetumError: it cannot be written; an older list is as it was.
    """
    lines = [f"# {line}" for line in explained]
    for share in shares:
        lines += [f"# {share.seen.kind} {share.seen.name}", *(str(file.absolute()) for file in share.drawn)]
    _write(path, os.fsencode("\n".join(lines) + "\n"))


def draw_histogram(sightings: Sightings, path: Path) -> None:
    """Draw what was seen: labels by their share of the frames, scene classes by their mean probability.

    Raises:
        TapetumError: it cannot be written.
    """
    from matplotlib.figure import Figure  # takes a second to import, and is not always wanted

    titles = {"label": "objects: share of frames", "scene": "scene: mean probability"}
    kinds = {kind: [seen for seen in sightings.seen if seen.kind == kind] for kind in titles}
    figure = Figure(figsize=(11, 1.2 + 0.28 * max(map(len, kinds.values()))), layout="constrained")
    for axes, (kind, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        bars = axes.barh([seen.name for seen in kinds[kind]], [100 * seen.weight for seen in kinds[kind]])
        axes.bar_label(bars, fmt="%.0f %%", padding=3)
        axes.set(title=title, xlabel="%")
        axes.margins(x=0.15)
        axes.invert_yaxis()
    figure.suptitle(f"seen in {sightings.frames} frames")
    image = BytesIO()
    figure.savefig(image, format=path.suffix[1:].lower(), dpi=120)
    _write(path, image.getvalue())


def _aligned(rows: Sequence[tuple[str, ...]], right: set[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    formats = "  ".join(f"{{:{'>' if i in right else '<'}{width}}}" for i, width in enumerate(widths))
    return [formats.format(*row).rstrip() for row in rows]


def _told(folders: Sequence[Path]) -> str:
    names = ", ".join(folder.name for folder in folders[:_FOLDERS_TOLD])
    more = len(folders) - _FOLDERS_TOLD
    return f"{names} and {more} more" if more > 0 else names


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomic(path, content)
    except OSError as error:
        raise TapetumError(f"{path}: cannot write: {error.strerror or error}") from error
