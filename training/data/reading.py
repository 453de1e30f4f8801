"""Reading a data set's images although some may be broken."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from edge.errors import InputError
from edge.types import UInt8Array
from training.data.images import is_grey, read_rgb

log = logging.getLogger(__name__)


class Reader:
    """Reads images by index and passes over broken ones: each is told once, by name, and not tried again.

    What is known to be broken lies in shared memory, so loader processes forked from this one tell it once too.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self._broken = torch.zeros(len(files), dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]

    def read(self, index: int) -> tuple[int, UInt8Array]:
        """The image uint8[H, W, 3] RGB at `index`, or the next usable one after it, with its own index.

        Raises:
            InputError: none of the images can be read.
        """
        for i in [*range(index, len(self.files)), *range(index)]:
            if not self._broken[i]:
                try:
                    return i, read_rgb(self.files[i])
                except InputError as error:
                    self._broken[i] = True
                    log.warning("%s, skipped", error)
        raise InputError(f"none of the {len(self.files)} images can be read: the first is {self.files[0]}")


def with_colour(files: Sequence[Path]) -> list[Path]:
    """The files that are colour photographs. Broken ones are told by name, grey ones by their number.

    Raises:
        InputError: none is.
    """
    kept, grey = [], 0
    for file in files:
        try:
            if is_grey(read_rgb(file, reduced=4)):
                grey += 1
            else:
                kept.append(file)
        except InputError as error:
            log.warning("%s, skipped", error)
    if grey:
        log.warning(
            "%d of %d photographs are grey, skipped: they would teach that things have no colour", grey, len(files)
        )
    if not kept:
        raise InputError(f"no colour photograph among {len(files)} files: give the colorizer photographs in colour")
    return kept
