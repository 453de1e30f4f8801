"""What a run tells while it goes on: `log.jsonl`, TensorBoard, a progress bar; at its end, pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from edge.atomic import write_atomic
from edge.types import UInt8Array
from training.learning.curves import LOG, draw_curves

SAMPLES = "samples.png"
LOG_EVERY = 50  # steps
# a network in evaluation mode -> what it makes of a few images, RGB; None where no image can be read
Sheet = Callable[[nn.Module], UInt8Array | None]


class Journal:
    """Losses, averaged over `LOG_EVERY` steps, and pictures, in a run folder. A context manager.

    Args:
        first: whether this process is the one that writes; the others' journals are mute.
        step, steps: done so far, and in all.
        sheet: makes the sample sheet.
    """

    def __init__(
        self, folder: Path, *, step: int, steps: int, first: bool = True, sheet: Sheet | None = None
    ) -> None:
        self.folder, self.first, self.sheet = folder, first, sheet
        self.training_loss: float | None = None  # the sum of the losses, as logged last
        self._window: list[Mapping[str, float]] = []
        self._learning_rate = 0.0
        self._started = time.monotonic()
        self._bar = tqdm(
            total=steps, initial=step, unit="step", dynamic_ncols=True, mininterval=2.0, disable=not first
        )
        if first:
            folder.mkdir(parents=True, exist_ok=True)
            self._log = (folder / LOG).open("a", encoding="utf-8")
            self._board = SummaryWriter(str(folder), purge_step=step + 1)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self.first:
            self._log.close()
            self._board.close()

    def record(self, step: int, losses: Mapping[str, float], learning_rate: float) -> None:
        """Take down a step's losses."""
        self._bar.update()
        self._window.append(losses)
        self._learning_rate = learning_rate
        if step % LOG_EVERY == 0:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Write the mean of what was recorded since the last time."""
        if not self._window or not self.first:
            return
        means = {k: sum(losses[k] for losses in self._window) / len(self._window) for k in self._window[0]}
        self._window = []
        self.training_loss = sum(means.values())
        elapsed = round(time.monotonic() - self._started, 1)
        entry = {"step": step, "elapsed_s": elapsed, "learning_rate": self._learning_rate, **means}
        self._log.write(json.dumps(entry) + "\n")
        self._log.flush()
        self._bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()})
        for name, value in means.items():
            self._board.add_scalar(f"loss/{name}", value, step)
        self._board.add_scalar("learning_rate", self._learning_rate, step)

    def show(self, network: nn.Module, step: int) -> None:
        """Draw the curves, and the sample sheet of a network in evaluation mode."""
        draw_curves(self.folder)
        rgb = self.sheet(network) if self.sheet else None
        if rgb is not None:
            self._board.add_image("samples", rgb, step, dataformats="HWC")
            _, png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
            write_atomic(self.folder / SAMPLES, png.tobytes())
