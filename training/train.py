"""`tapetum-train recognizer` and `colorizer`: data in, a run folder with checkpoint, log and pictures out."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import cv2
import torch

from edge.arguments import number, whole
from edge.errors import ConfigError, InputError, TapetumError
from training.arguments import repeat
from training.checkpoint import Card
from training.learning.batch_norm import share_batch_norm
from training.learning.batches import Batches, loader, seed_of
from training.learning.devices import DEVICES, PRECISIONS, Precision, choose_device
from training.learning.journal import Journal
from training.learning.loop import train
from training.learning.ranks import Ranks, joined, local_rank
from training.learning.recipe import OPTIMIZERS, SCHEDULES, recipe_of
from training.learning.start import claimed, initial, name_of, take_over, write_held_out
from training.learning.state import Training
from training.learning.tasks import Task, colorizer_task, recognizer_task
from training.models.catalogue import COLORIZERS, CONTEXTS, RECOGNIZERS
from training.models.colorizer import ABLATIONS

FINE_TUNING_RATE = 3e-4
EPILOG = """A new site has few images: start from weights that know more (--init). Data-parallel:
torchrun --nproc-per-node N -m training ... (--batch stays that of all processes together)."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `recognizer` and `colorizer`."""
    recognizer = commands.add_parser("recognizer", help="train the recognizer on COCO-format data", epilog=EPILOG)
    recognizer.add_argument("--coco", type=Path, required=True, help="annotations (JSON)")
    recognizer.add_argument("--images", type=Path, required=True, help="folder of the images")
    recognizer.add_argument("--variant", choices=RECOGNIZERS, default="field")
    recognizer.add_argument("--input-size", type=whole(96, 32), default=320, help="side of the input, in pixels")
    recognizer.add_argument(
        "--boxed-only", action="store_true", help="leave out images in which people boxed nothing"
    )
    recognizer.add_argument(
        "--repeat",
        type=repeat,
        nargs="*",
        metavar="LABEL=TIMES",
        help="draw images with this label more often",
    )
    _add_common(recognizer, batch=8)
    recognizer.set_defaults(run=train_recognizer, network="recognizer")

    colorizer = commands.add_parser("colorizer", help="train the colorizer on colour photographs", epilog=EPILOG)
    source = colorizer.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, nargs="+", help="folders of photographs")
    source.add_argument("--list", type=Path, help="text file of photographs, one path a line, as `select` writes it")
    colorizer.add_argument("--variant", choices=(*COLORIZERS, *ABLATIONS), default="field")
    colorizer.add_argument(
        "--context", choices=CONTEXTS, default=CONTEXTS[0], help="network that sees the whole scene"
    )
    colorizer.add_argument("--context-weights", type=Path, metavar="FILE", help="its public state_dict")
    colorizer.add_argument("--crop-px", type=whole(64, 32), default=160, help="side of a training crop")
    _add_common(colorizer, batch=16)
    colorizer.set_defaults(run=train_colorizer, network="colorizer")


def _add_common(parser: argparse.ArgumentParser, *, batch: int) -> None:
    parser.add_argument("--out", type=Path, required=True, help="run folder for checkpoint, log and pictures")
    parser.add_argument(
        "--init",
        metavar="RUN",
        help="what to start from: a run folder; imagenet (the backbone's weights alone, or none where there are "
        "none); shipped (the demo bundle's colorizer: the default for the colorizer's field variant)",
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--never", type=Path, nargs="*", help="folders whose images must not be learnt from")
    parser.add_argument("--nir", type=number(0, 1), default=0.5, help="share of images rendered as near infrared")
    parser.add_argument("--steps", type=whole(1), default=4000)
    parser.add_argument("--batch", type=whole(1), default=batch, help="images in a step, of all processes")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, help="adamw; for the paper's variant adam")
    parser.add_argument("--schedule", choices=SCHEDULES, help="cosine; for the paper's variant the paper's decay")
    parser.add_argument("--learning-rate", type=number(1e-9, 1), help="0.001; from a run's or shipped weights 0.0003")
    parser.add_argument("--save-every", type=whole(1), default=250, help="steps between checkpoints")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--device", choices=DEVICES, default="auto", help="auto takes a GPU if there is one")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="auto: bf16 or fp16 on a GPU, fp32 on the CPU"
    )
    parser.add_argument("--workers", type=whole(0), default=1, help="processes (each) that read and augment images")
    parser.add_argument("--threads", type=whole(0), default=0, help="CPU threads of PyTorch; 0 takes all")


def train_recognizer(options: argparse.Namespace) -> None:
    """COCO-format detection data in, a recognizer's checkpoint out."""
    with _explained():
        _train(options, recognizer_task)


def train_colorizer(options: argparse.Namespace) -> None:
    """Colour photographs in, a colorizer's checkpoint out."""
    with _explained():
        _train(options, colorizer_task)


@contextmanager
def _explained() -> Iterator[None]:
    """PyTorch's errors that a user can mend, in one line."""
    try:
        yield
    except RuntimeError as error:
        if "out of memory" in str(error):
            raise TapetumError("the memory of the device is full: lower --batch") from error
        if "DataLoader worker" in str(error):
            raise TapetumError("a process that reads images was killed, maybe for memory: lower --workers") from error
        raise


def _train(options: argparse.Namespace, prepare: Callable[[argparse.Namespace, torch.device], Task]) -> None:
    cv2.setNumThreads(1)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.init = initial(options)
    device = choose_device(options.device, local_rank())
    with joined(device) as ranks:
        if not ranks.first:
            logging.disable(logging.WARNING)  # the first process says the same
        with ranks.together():
            if options.batch % ranks.world:
                raise ConfigError(f"--batch {options.batch} cannot be shared evenly by {ranks.world} processes")
            with claimed(options) as before:
                torch.manual_seed(seed_of(options.seed))
                task = prepare(options, device)
                training = _training(task, options, before, Precision(options.precision, device), ranks)
        with ranks.together():
            if ranks.first:
                write_held_out(options.out, task.held_out)
        batches = Batches(task.draws, options.batch, options.seed, training.step, options.steps, ranks)
        batches_of_items = loader(
            task.images, batches, workers=options.workers, collate=task.collate, pin=device.type == "cuda"
        )
        losses = ranks.share(task.losses.to(device), device, frozen=task.frozen)
        with Journal(
            options.out, step=training.step, steps=options.steps, first=ranks.first, sheet=task.sheet
        ) as journal:
            train(training, losses, batches_of_items, journal, task.card, seed=options.seed)
    if ranks.first:
        print(f"saved {options.out} after {training.step} steps", file=sys.stderr)


def _training(
    task: Task, options: argparse.Namespace, before: Card | None, precision: Precision, ranks: Ranks
) -> Training:
    if options.batch > len(task.images):
        raise InputError(f"{len(task.images)} images to learn from: fewer than --batch {options.batch}")
    recipe = recipe_of(
        options.variant,
        options.steps,
        optimizer=options.optimizer,
        schedule=options.schedule,
        batch=options.batch,
        learning_rate=options.learning_rate or (FINE_TUNING_RATE if options.init else None),
        epoch_steps=len(task.images) / options.batch,
        slow_factor=task.slow_factor,
        save_every=options.save_every,
    )
    if ranks.world > 1:
        share_batch_norm(task.network)
    task.card.recipe = asdict(recipe) | {"seed": options.seed}
    task.card.data["init"] = name_of(options.init)
    training = Training(task.network, recipe, slow=task.slow, precision=precision, ranks=ranks)
    if before:
        take_over(options.out, before, task.card)
        training.resume(options.out)
    return training
