"""`tapetum-train`: train a network from the command line."""

from __future__ import annotations

import argparse
import logging
import math
import platform
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, WeightedRandomSampler

from edge import __version__
from edge.atomic import write_atomic
from edge.errors import ConfigError, InputError, TapetumError
from training.checkpoint import STATE, Card
from training.data.detection import CocoDetection, Target, collate
from training.data.images import list_images
from training.data.photographs import ColourCrops
from training.data.split import Split, split_images
from training.loop import LossFunction, Schedule, Training, forever, train
from training.losses import colour_loss, recognizer_losses
from training.models.colorizer import field_colorizer
from training.models.efficientnet_lite import imagenet_lite0
from training.models.recognizer import field_recognizer

Network = TypeVar("Network", bound=nn.Module)
HELD_OUT = "held_out.txt"  # in a colorizer's run folder; `tapetum-build pack --colour-images` reads it
FROZEN_STAGES = 2  # of the recognizer's backbone, down to stride 4: edges do not change


def train_recognizer(options: argparse.Namespace) -> None:
    """COCO-format detection data in, a recognizer's checkpoint out."""
    data = CocoDetection(options.coco, options.images, options.input_size, nir=options.nir, seed=options.seed)
    card = _card(options, "recognizer", labels=data.labels, input_size=options.input_size)
    _claim(options)
    split = _split([record.path for record in data.records], options)
    data.keep(split.train)
    card.data = {"coco": options.coco.name, "images": len(data), "held_out": len(split.held_out), "nir": options.nir}
    network = _channels_last(field_recognizer(len(data.labels), options.input_size)).train()

    def loss_of(batch: tuple[Tensor, list[Target]]) -> dict[str, Tensor]:
        luma, targets = batch
        return recognizer_losses(network, luma, targets, frozen_stages=FROZEN_STAGES)

    training = Training(network, network.backbone, _schedule(options, 0.3))
    sampler = WeightedRandomSampler(data.draws(dict(options.repeat or {})).tolist(), len(data))
    loader = DataLoader(data, options.batch, sampler=sampler, num_workers=options.workers, collate_fn=collate)
    _run(training, loader, data, loss_of, card, options)


def train_colorizer(options: argparse.Namespace) -> None:
    """Folders of colour photographs in, a colorizer's checkpoint and the list of held-out photographs out."""
    files = list_images(options.images)
    _claim(options)
    split = _split(files, options)
    if len(split.train) < options.batch:
        raise InputError(f"{len(split.train)} photographs to learn from: fewer than --batch {options.batch}")
    data = ColourCrops(split.train, options.crop_px, nir=options.nir, seed=options.seed)
    card = _card(options, "colorizer", input_size=256)
    card.data = {"images": len(data), "held_out": len(split.held_out), "nir": options.nir}
    network = _channels_last(field_colorizer()).train()
    context_network = _channels_last(imagenet_lite0(classifier=True)).eval()

    def loss_of(batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        luma, whole, ab = batch
        with torch.no_grad():
            context = context_network(whole)
        return {"colour": colour_loss(network(luma, context), ab)}

    training = Training(network, network.encoder, _schedule(options, 0.5))
    loader = DataLoader(data, options.batch, shuffle=True, num_workers=options.workers, drop_last=True)
    _run(training, loader, data, loss_of, card, options)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code (see edge.errors)."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    options = _parser().parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started us with it ignored
    cv2.setNumThreads(1)
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        options.run(options)
    except TapetumError as error:
        print(f"tapetum-train: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # the run folder: what is read has errors of its own
        print(f"tapetum-train: {error.filename or options.out}: {error.strerror or error}", file=sys.stderr)
        return TapetumError.exit_code
    except KeyboardInterrupt:
        print("tapetum-train: stopped; continue with --resume", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tapetum-train", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    recognizer = commands.add_parser("recognizer", help="train the recognizer on COCO-format data")
    recognizer.add_argument("--coco", type=Path, required=True, help="annotations (JSON)")
    recognizer.add_argument("--images", type=Path, required=True, help="folder of the images")
    recognizer.add_argument("--input-size", type=_whole(96, 32), default=320, help="side of the input, in pixels")
    recognizer.add_argument(
        "--repeat", type=_repeat, nargs="*", metavar="LABEL=TIMES", help="draw images with this label more often"
    )
    _common(recognizer, batch=8, steps=4000)
    recognizer.set_defaults(run=train_recognizer)

    colorizer = commands.add_parser("colorizer", help="train the colorizer on folders of photographs")
    colorizer.add_argument("--images", type=Path, nargs="+", required=True, help="folders of photographs")
    colorizer.add_argument("--crop-px", type=_whole(64, 32), default=160, help="side of a training crop")
    _common(colorizer, batch=16, steps=4000)
    colorizer.set_defaults(run=train_colorizer)
    return parser


def _common(parser: argparse.ArgumentParser, *, batch: int, steps: int) -> None:
    parser.add_argument("--out", type=Path, required=True, help="run folder for checkpoint and log")
    parser.add_argument("--never", type=Path, nargs="*", help="folders whose images must not be learnt from")
    parser.add_argument("--steps", type=_whole(1), default=steps)
    parser.add_argument("--batch", type=_whole(1), default=batch)
    parser.add_argument("--learning-rate", type=_number(1e-9, 1), default=1e-3)
    parser.add_argument("--nir", type=_number(0, 1), default=0.5, help="share of images rendered as near infrared")
    parser.add_argument("--workers", type=_whole(0), default=1, help="processes that read and augment images")
    parser.add_argument("--threads", type=_whole(0), default=0, help="CPU threads of PyTorch; 0 takes all")
    parser.add_argument("--seed", type=_whole(0), default=0)
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")


def _whole(minimum: int, multiple_of: int = 1) -> Callable[[str], int]:
    """An argparse type: whole numbers from `minimum` on."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum or int(text) % multiple_of:
            step = f", a multiple of {multiple_of}" if multiple_of > 1 else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {minimum} on{step}")
        return int(text)

    return parse


def _repeat(text: str) -> tuple[str, float]:
    """An argparse type: LABEL=TIMES."""
    label, _, times = text.rpartition("=")
    return label, _number(0.1, 100)(times)


def _number(minimum: float, maximum: float) -> Callable[[str], float]:
    """An argparse type: numbers in a range."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {minimum:g} to {maximum:g}")
        return value

    return parse


def _channels_last(network: Network) -> Network:
    """Convolutions on a CPU train twice as fast with channels last."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


def _schedule(options: argparse.Namespace, slow_factor: float) -> Schedule:
    warm_up = min(200, options.steps // 10)
    return Schedule(options.steps, options.learning_rate, warm_up=warm_up, slow_factor=slow_factor)


def _card(options: argparse.Namespace, network: str, *, labels: list[str] | None = None, input_size: int) -> Card:
    command = shlex.join(["tapetum-train", *map(_without_folders, options.arguments)])
    versions = {"tapetum": __version__, "torch": torch.__version__, "python": platform.python_version()}
    return Card(network, labels=labels or [], input_size=input_size, command=command, versions=versions)


def _without_folders(argument: str) -> str:
    """Folders of this machine are nobody's business: the card travels, in the bundle's manifest too."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return option + equals + (Path(value).name if value.startswith("/") else value)


def _split(files: list[Path], options: argparse.Namespace) -> Split:
    """Hold out a share of the files, and write its list beside the checkpoint."""
    split = split_images(files, list_images(options.never) if options.never else [])
    lines = "".join(f"{file.absolute()}\n" for file in split.held_out)
    write_atomic(options.out / HELD_OUT, lines.encode())
    return split


def _claim(options: argparse.Namespace) -> None:
    """Make the run folder before any long work; refuse one that holds a run already."""
    if not options.resume and (options.out / STATE).exists():
        raise ConfigError(f"{options.out} holds a run already: add --resume, or choose another --out")
    options.out.mkdir(parents=True, exist_ok=True)


def _run(
    training: Training,
    loader: DataLoader[Any],
    data: CocoDetection | ColourCrops,
    loss_of: LossFunction,
    card: Card,
    options: argparse.Namespace,
) -> None:
    if options.resume:
        training.resume(options.out)
    first_epoch = training.step * options.batch // len(data)

    def begin(epoch: int) -> None:
        data.epoch = first_epoch + epoch

    train(training, forever(loader, begin), loss_of, card, options.out)
    print(f"saved {options.out} after {training.step} steps", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
