"""The one training loop, for all networks, on one device or many."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from edge.errors import InputError, TapetumError
from training.checkpoint import Card, write_tensors
from training.learning.batches import moved, named_tensors, seed_of
from training.learning.journal import Journal
from training.learning.ranks import PeerError, Ranks
from training.learning.state import NonFiniteLossError, Training

BAD_BATCH = "bad-batch.safetensors"


class Interrupt:
    """Whether Ctrl-C was pressed: the step is finished first, so that what is saved is the state of a whole step."""

    pressed = False


def train(
    training: Training, losses: nn.Module, batches: Iterable[Any], journal: Journal, card: Card, *, seed: int = 0
) -> None:
    """Run the recipe to its end, saving now and then into the journal's folder; Ctrl-C saves and leaves.

    Args:
        training: of the network that `losses` holds.
        losses: called with the parts of a batch, returns named losses, each a mean over the batch's images.
        batches: of this process, from the training's step on.
        seed: with the step it decides what is random within the network and its losses. (Processes draw apart, so
            there, and only there, several differ from one at the same global batch.)

    Raises:
        NonFiniteLossError: training went wrong; what was saved last stays, and the batch lies beside it.
        InputError: an image failed.
        TapetumError: the run folder failed.
        PeerError: another process failed.
        KeyboardInterrupt: Ctrl-C, after saving.
    """
    with _interrupt(training.ranks) as interrupt:
        try:
            _run(training, losses, iter(batches), journal, card, interrupt, seed)
        except NonFiniteLossError:
            raise  # without saving: the weights, or the statistics of normalization, may be spoilt already
        except Exception:  # an image that cannot be read, a full disk: keep what was learnt
            if training.step:
                _save(training, journal, card)
            raise
        with training.ranks.together():
            _save(training, journal, card)
    if training.step < training.recipe.steps:
        raise KeyboardInterrupt if training.ranks.first else PeerError


def _run(
    training: Training,
    losses: nn.Module,
    source: Iterator[Any],
    journal: Journal,
    card: Card,
    interrupt: Interrupt,
    seed: int,
) -> None:
    recipe, ranks = training.recipe, training.ranks
    while training.step < recipe.steps and not ranks.any(interrupt.pressed):
        with ranks.together():
            batch = moved(_next(source), training.precision.device)
        torch.manual_seed(seed_of(seed, training.step, ranks.rank))
        learning_rate = training.learning_rate
        with training.precision.autocast():
            parts = losses(*batch)
        try:
            means = training.update(parts)
        except NonFiniteLossError as error:
            raise _with_batch(error, training, journal.folder, batch, parts) from error
        journal.record(training.step, means, learning_rate)
        if training.step % recipe.save_every == 0 and training.step < recipe.steps:
            with ranks.together():
                _save(training, journal, card)


def _next(source: Iterator[Any]) -> Any:
    """The next batch. An error of a loader process comes with that process's traceback as its text: the last line."""
    try:
        return next(source)
    except InputError as error:
        raise InputError(str(error).rpartition(f"{InputError.__name__}: ")[2].strip()) from error


def _save(training: Training, journal: Journal, card: Card) -> None:
    """Checkpoint and pictures, by the first process."""
    if not training.ranks.first:
        return
    journal.flush(training.step)
    if journal.training_loss is not None:
        card.metrics["training_loss"] = journal.training_loss
    training.save(journal.folder, card)
    with training.averaged() as network:
        journal.show(network, training.step)


def _with_batch(
    error: NonFiniteLossError, training: Training, folder: Path, batch: Any, losses: dict[str, torch.Tensor]
) -> NonFiniteLossError:
    """Save the global batch that broke the training; the error that says so."""
    values = {name: loss.item() for name, loss in losses.items()}
    everything = training.ranks.gathered((moved(batch, torch.device("cpu")), values))
    path = folder / BAD_BATCH
    advice = f"lower --learning-rate, or look at its batch: {path}"
    if everything:
        tensors = {
            f"{rank}.{k}": v for rank, (part, _) in enumerate(everything) for k, v in named_tensors(part).items()
        }
        said = json.dumps([values for _, values in everything])
        try:
            write_tensors(path, tensors, {"step": str(training.step), "losses": said})
        except TapetumError as failed:  # a full disk: what is wrong with the training matters more
            advice = f"lower --learning-rate ({failed})"
    return NonFiniteLossError(f"{error}: {advice}") if training.ranks.first else NonFiniteLossError()


@contextmanager
def _interrupt(ranks: Ranks) -> Iterator[Interrupt]:
    """Take Ctrl-C down instead of stopping at once. A second one stops at once, without saving.

    Not so under torchrun: there each process hears one Ctrl-C twice, from the terminal and from torchrun, which ends
    by itself what does not end soon.
    """
    interrupt = Interrupt()
    again = "; Ctrl-C again leaves without saving" if ranks.world == 1 else ""
    advice = f"\ntapetum-train: finishing the step and saving{again}\n".encode()

    def note(_signal: int, _frame: FrameType | None) -> None:
        if interrupt.pressed and ranks.world == 1:
            raise KeyboardInterrupt
        if not interrupt.pressed and ranks.first:
            os.write(sys.stderr.fileno(), advice)  # print might have been what was interrupted
        interrupt.pressed = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
