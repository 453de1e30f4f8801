"""What there is to learn: for each command the network, its losses, its data, and how to look at what it learnt."""

from __future__ import annotations

import argparse
import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from edge.errors import InputError
from training import provenance
from training.checkpoint import Card, initialise
from training.data.detection import CocoDetection, collate
from training.data.images import list_images, read_list, read_rgb
from training.data.photographs import ColourCrops, target_ab
from training.data.split import Split, split_images
from training.learning.batches import Images
from training.learning.journal import Sheet
from training.learning.samples import COLOUR_PX, ColourSheet, DetectionSheet
from training.losses import ColourLosses, RecognizerLosses
from training.models.catalogue import build_colorizer, build_context, build_recognizer
from training.models.colour_bins import colour_prior

Network = TypeVar("Network", bound=nn.Module)
PRIOR_IMAGES = 500
HELD_OUT = "held_out.txt"  # in a run folder: the photographs that were not learnt from, for whoever measures
FROZEN_STAGES = 2  # of the recognizer's pretrained backbone, down to stride 4: edges do not change
log = logging.getLogger(__name__)


@dataclass
class Task:
    """What the two commands differ in.

    `slow` is the network's pretrained part and learns at `slow_factor` of the rate; `draws` float64[N] says how often
    each image is drawn; `held_out` are files that are not learnt from; `frozen`, whether some of the network's
    parameters get no gradient.
    """

    network: nn.Module
    losses: nn.Module
    images: Images
    draws: Tensor
    sheet: Sheet
    card: Card
    held_out: list[Path]
    slow: nn.Module | None
    slow_factor: float
    frozen: bool = False
    collate: Callable[[list[Any]], Any] | None = None


def recognizer_task(options: argparse.Namespace, device: torch.device) -> Task:
    data = CocoDetection(options.coco, options.images, options.input_size, nir=options.nir, seed=options.seed)
    if options.boxed_only:
        boxed = [record.path for record in data.records if record.is_boxed]
        if not boxed:
            raise InputError(f"{options.coco}: people boxed nothing in any of its images: leave out --boxed-only")
        data.keep(boxed)
    split = _split([record.path for record in data.records], options)
    held_out = copy.copy(data)
    data.keep(split.train)
    held_out.keep(split.held_out or split.train)
    card = _card(options, "recognizer", [record.path for record in data.records], split)
    card.labels, card.input_size, card.data["coco"] = data.labels, options.input_size, options.coco.name
    network = build_recognizer(options.variant, len(data.labels), options.input_size, pretrained=not options.init)
    network = _start(network, card, options, device)
    field = options.variant == "field"
    return Task(
        network,
        RecognizerLosses(network, frozen_stages=FROZEN_STAGES if field else 0),
        data,
        draws=data.draws(dict(options.repeat or {})),
        sheet=DetectionSheet(held_out.records, data.labels, options.input_size, device),
        card=card,
        held_out=split.held_out,
        slow=network.get_submodule("backbone") if field else None,
        slow_factor=0.3,
        frozen=field,
        collate=collate,
    )


def colorizer_task(options: argparse.Namespace, device: torch.device) -> Task:
    files = read_list(options.list, skip_missing=True) if options.list else list_images(options.images)
    split = _split(files, options)
    context_network = _channels_last(build_context(options.context, options.context_weights).to(device))
    data = ColourCrops(
        split.train, options.crop_px, nir=options.nir, seed=options.seed, context_px=context_network.input_px
    )
    card = _card(options, "colorizer", data.files, split)
    card.context, card.input_size = options.context, COLOUR_PX
    network = _start(build_colorizer(options.variant, pretrained=not options.init), card, options, device)
    return Task(
        network,
        ColourLosses(network, context_network, prior=_prior(data.files) if network.loss == "classes" else None),
        data,
        draws=torch.ones(len(data), dtype=torch.float64),
        sheet=ColourSheet(split.held_out or split.train, context_network, device),
        card=card,
        held_out=split.held_out,
        slow=network.get_submodule("encoder") if options.variant.startswith("field") else None,
        slow_factor=0.5,
    )


def _prior(files: list[Path]) -> Tensor:
    """How common each colour is, float32[313], over `PRIOR_IMAGES` of the photographs, evenly over their order."""
    some = files[:: -(-len(files) // PRIOR_IMAGES)]
    return colour_prior(torch.from_numpy(target_ab(read_rgb(file, reduced=4)))[None] for file in some)


def _start(network: Network, card: Card, options: argparse.Namespace, device: torch.device) -> Network:
    """The network ready to train, with the weights of --init, if one is given and the run is a new one."""
    if options.init and not options.resume:
        anew = initialise(network, card, options.init)
        if anew:
            log.info("%s knows other labels: %s start anew", options.init, ", ".join(anew))
    return _channels_last(network.to(device).train())


def _channels_last(network: Network) -> Network:
    """Convolutions on a CPU train twice as fast with channels last, and tensor cores want it too."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


def _card(options: argparse.Namespace, network: str, files: list[Path], split: Split) -> Card:
    data = {
        "images": len(files),
        "held_out": len(split.held_out),
        "nir": options.nir,
        "sha256": provenance.fingerprint(files),
    }
    command = provenance.command_of(options.arguments)
    return Card(network, options.variant, data=data, command=command, versions=provenance.versions_of("torch"))


def _split(files: list[Path], options: argparse.Namespace) -> Split:
    return split_images(files, list_images(options.never) if options.never else [])
