"""Checkpoints: weights as safetensors beside a JSON card. Loading never unpickles, saving is atomic.

A run folder holds `model.safetensors` (the weights to ship: the moving average), `card.json` (what they are), and
`state.safetensors` (everything that resuming needs).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edge.atomic import replacing
from edge.errors import InputError
from training.models.colorizer import Colorizer
from training.models.recognizer import Recognizer

MODEL, CARD, STATE = "model.safetensors", "card.json", "state.safetensors"
CARD_SCHEMA = 1


@dataclass
class Card:
    """What a checkpoint is: enough to rebuild the network and to know where it comes from."""

    network: str  # recognizer | colorizer
    variant: str = "field"
    labels: list[str] = field(default_factory=list)
    input_size: int = 0
    step: int = 0
    samples: int = 0
    command: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = CARD_SCHEMA


def save_weights(folder: Path, weights: dict[str, Tensor], card: Card) -> None:
    """Write `model.safetensors` and `card.json`; the old ones survive a failure."""
    write_tensors(folder / MODEL, weights)
    with _saving(folder / CARD) as temporary:
        temporary.write_text(json.dumps(asdict(card), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_card(folder: Path) -> Card:
    """The card of a run folder.

    Raises:
        InputError: missing, damaged, or of a schema that this version does not know.
    """
    path = folder / CARD
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        card = Card(**document)
    except OSError as error:
        raise InputError(f"{path}: cannot read the checkpoint's card: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not a checkpoint's card: {error}") from error
    if card.schema != CARD_SCHEMA:
        raise InputError(f"{path}: card schema {card.schema}, this version reads {CARD_SCHEMA}")
    return card


def load_network(folder: Path, expected: str) -> tuple[nn.Module, Card]:
    """The trained network of a run folder, in evaluation mode, with its card.

    Raises:
        InputError: the checkpoint is missing, damaged, of another network, or does not fit.
    """
    card = read_card(folder)
    if card.network != expected:
        raise InputError(f"{folder}: a checkpoint of the {card.network}, not of the {expected}")
    network = build_network(card)
    try:
        network.load_state_dict(read_tensors(folder / MODEL))
    except RuntimeError as error:
        first_line = str(error).splitlines()[0]
        raise InputError(f"{folder / MODEL}: weights do not fit the card: {first_line}") from error
    return network.eval(), card


def build_network(card: Card) -> nn.Module:
    """The network that a card describes, with untrained weights."""
    if card.variant != "field":
        raise InputError(f"unknown variant {card.variant!r}: this version knows 'field'")
    if card.network == "recognizer":
        return Recognizer(len(card.labels), card.input_size)
    if card.network == "colorizer":
        return Colorizer()
    raise InputError(f"unknown network {card.network!r}: recognizer or colorizer")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors file; InputError when it is missing or damaged."""
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot read the checkpoint: {error}") from error


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file; a full disk costs nothing, the old file survives.

    Raises:
        InputError: it cannot be written.
    """
    with _saving(path) as temporary:
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, temporary)


@contextmanager
def _saving(path: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot save the checkpoint: {error}") from error
