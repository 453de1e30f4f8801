"""`tapetum-train`: train a network from the command line."""

from __future__ import annotations

import argparse
import logging
import platform
import shlex
import signal
import sys
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from edge import __version__
from edge.errors import ConfigError, TapetumError
from training.checkpoint import STATE, Card
from training.data.detection import CocoDetection, Target, collate
from training.data.photographs import ColourCrops, list_images, split_images
from training.loop import LossFunction, Schedule, Training, forever, train
from training.losses import colour_loss, recognizer_losses
from training.models.colorizer import field_colorizer
from training.models.efficientnet_lite import imagenet_lite0
from training.models.recognizer import field_recognizer

Network = TypeVar("Network", bound=nn.Module)
FROZEN_STAGES = 3  # of the recognizer's backbone, down to stride 8: edges and textures do not change


def train_recognizer(options: argparse.Namespace) -> None:
    """COCO-format detection data in, a recognizer's checkpoint out."""
    data = CocoDetection(options.coco, options.images, options.input_size, nir=options.nir, seed=options.seed)
    card = _card(options, "recognizer", labels=data.labels, input_size=options.input_size)
    card.data = {"coco": options.coco.name, "images": len(data), "nir": options.nir}
    network = _channels_last(field_recognizer(len(data.labels), options.input_size)).train()

    def loss_of(batch: tuple[Tensor, list[Target]]) -> dict[str, Tensor]:
        luma, targets = batch
        return recognizer_losses(network, luma, targets, frozen_stages=FROZEN_STAGES)

    training = Training(network, network.backbone, _schedule(options, 0.3))
    loader = DataLoader(data, options.batch, shuffle=True, num_workers=options.workers, collate_fn=collate)
    _run(training, loader, data, loss_of, card, options)


def train_colorizer(options: argparse.Namespace) -> None:
    """Folders of colour photographs in, a colorizer's checkpoint out."""
    never = list_images(options.never) if options.never else []
    split = split_images(list_images(options.images), never)
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
    recognizer.add_argument("--input-size", type=int, default=320, help="side of the input, a multiple of 32")
    _common(recognizer, batch=8, steps=4000)
    recognizer.set_defaults(run=train_recognizer)

    colorizer = commands.add_parser("colorizer", help="train the colorizer on folders of photographs")
    colorizer.add_argument("--images", type=Path, nargs="+", required=True, help="folders of photographs")
    colorizer.add_argument("--never", type=Path, nargs="*", help="folders whose images must not be learnt from")
    colorizer.add_argument("--crop-px", type=int, default=160, help="side of a training crop, a multiple of 32")
    _common(colorizer, batch=16, steps=4000)
    colorizer.set_defaults(run=train_colorizer)
    return parser


def _common(parser: argparse.ArgumentParser, *, batch: int, steps: int) -> None:
    parser.add_argument("--out", type=Path, required=True, help="run folder for checkpoint and log")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--nir", type=float, default=0.5, help="share of images rendered as near infrared")
    parser.add_argument("--workers", type=int, default=1, help="processes that read and augment images")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of PyTorch; 0 takes all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")


def _channels_last(network: Network) -> Network:
    """Convolutions on a CPU train twice as fast with channels last."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


def _schedule(options: argparse.Namespace, slow_factor: float) -> Schedule:
    warm_up = min(200, options.steps // 10)
    return Schedule(options.steps, options.learning_rate, warm_up=warm_up, slow_factor=slow_factor)


def _card(options: argparse.Namespace, network: str, *, labels: list[str] | None = None, input_size: int) -> Card:
    if input_size % 32:
        raise ConfigError(f"--input-size {input_size}: must be a multiple of 32")
    # Folders of this machine are nobody's business: the card travels, in the bundle's manifest too.
    command = shlex.join(["tapetum-train", *(Path(a).name if a.startswith("/") else a for a in sys.argv[1:])])
    versions = {"tapetum": __version__, "torch": torch.__version__, "python": platform.python_version()}
    return Card(network, labels=labels or [], input_size=input_size, command=command, versions=versions)


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
    elif (options.out / STATE).exists():
        raise ConfigError(f"{options.out} holds a run already: add --resume, or choose another --out")
    first_epoch = training.step * options.batch // len(data)

    def begin(epoch: int) -> None:
        data.epoch = first_epoch + epoch

    train(training, forever(loader, begin), loss_of, card, options.out)
    print(f"saved {options.out} after {training.step} steps", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
