"""Checkpoints: weights as safetensors beside a JSON card. Loading never unpickles, saving is atomic.

A run folder holds `model.safetensors` (the weights to ship: the moving average), `card.json` (what they are), and
`state.safetensors` (everything that resuming needs).
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edge.atomic import replacing
from edge.errors import InputError, TapetumError
from training.data.detection import PAD
from training.models import catalogue
from training.models.two_stage import TwoStage

MODEL, CARD, STATE = "model.safetensors", "card.json", "state.safetensors"
CARD_SCHEMA = 2
FIRST_CONTEXT = "efficientnet_lite0"  # of the colorizers whose cards (schema 1) do not name theirs
# How a frame becomes the network's input, in the words of the bundle's manifest.
PREPROCESSING: dict[str, dict[str, Any]] = {
    "recognizer": {"resize": "letterbox", "pad": PAD / 255},
    "colorizer": {"resize": "squash"},
}


@dataclass
class Card:
    """What a checkpoint is: enough to rebuild the network and to know where it comes from.

    Attributes:
        network: recognizer or colorizer; variant: its name in `training.models.catalogue`.
        labels: of a recognizer, in the order of its scores.
        input_size: side of the input that it was trained for, in pixels.
        preprocessing: how a frame becomes that input, in the words of the bundle's manifest.
        context: the network whose logits a colorizer was trained with; empty for a recognizer.
        step, samples: steps done, and images seen in them.
        data: what it learnt from: counts, options, `sha256` over the file names and sizes.
        recipe: how it learnt: `training.learning.recipe.Recipe`, and the seed.
        metrics: `training_loss`, as the log's last line has it.
    """

    network: str
    variant: str = "field"
    labels: list[str] = field(default_factory=list)
    input_size: int = 0
    preprocessing: dict[str, Any] = field(default_factory=dict)
    context: str = ""
    step: int = 0
    samples: int = 0
    command: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = CARD_SCHEMA

    def __post_init__(self) -> None:
        """Fill in what older cards leave out."""
        self.preprocessing = self.preprocessing or PREPROCESSING.get(self.network, {})
        if self.network == "colorizer":
            self.context = self.context or FIRST_CONTEXT


def save_weights(folder: Path, weights: dict[str, Tensor], card: Card) -> None:
    """Write `model.safetensors` and `card.json`; the old ones survive a failure, which is a TapetumError."""
    write_tensors(folder / MODEL, weights)
    with _saving(folder / CARD) as temporary:
        text = json.dumps(asdict(card), indent=1, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8", errors="replace")  # a folder's name may be no Unicode


def read_card(folder: Path) -> Card:
    """The card of a run folder.

    Raises:
        InputError: missing, damaged, or of a schema that this version does not know.
    """
    path = folder / CARD
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        card = TypeAdapter(Card).validate_python(Card(**document).__dict__)
    except OSError as error:
        raise InputError(f"{path}: cannot read the checkpoint's card: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not a checkpoint's card: {error}") from error
    if card.schema not in (1, CARD_SCHEMA):
        raise InputError(f"{path}: card schema {card.schema}, this version reads 1 to {CARD_SCHEMA}")
    return replace(card, schema=CARD_SCHEMA)


def load_network(checkpoint: Path, expected: str, variant: str | None = None) -> tuple[nn.Module, Card]:
    """The trained network of a run folder (or of its `model.safetensors`), in evaluation mode, with its card.

    Args:
        checkpoint: the folder or the file.
        expected: recognizer or colorizer.
        variant: the one that it must be; None takes any.

    Raises:
        InputError: the checkpoint is missing, damaged, of another network or variant, or does not fit.
    """
    folder = run_folder(checkpoint)
    card = read_card(folder)
    require(card, folder, expected, variant)
    network = build_network(card)
    try:
        network.load_state_dict(read_tensors(folder / MODEL))
    except RuntimeError as error:
        raise InputError(f"{folder / MODEL}: weights do not fit the card: {_short(error)}") from error
    return network.eval(), card


def run_folder(checkpoint: Path) -> Path:
    """The folder of a checkpoint that is named by its folder or by its `model.safetensors`."""
    return checkpoint.parent if checkpoint.name == MODEL else checkpoint


def require(card: Card, folder: Path, network: str, variant: str | None = None, *, option: str = "") -> None:
    """Refuse a card of another network or variant; `option` is the one that named the folder.

    Raises:
        InputError: it is one.
    """
    if card.network != network:
        instead = f": choose another {option}" if option else ""
        raise InputError(f"{folder}: a checkpoint of the {card.network}, not of the {network}{instead}")
    if variant and card.variant != variant:
        instead = f", or choose another {option}" if option else ""
        raise InputError(
            f"{folder}: a {card.network} of variant {card.variant}: add --variant {card.variant}{instead}"
        )


def build_network(card: Card) -> nn.Module:
    """The network that a card describes, with untrained weights.

    Raises:
        InputError: no such network or variant.
    """
    return catalogue.build(card.network, card.variant, labels=len(card.labels), input_size=card.input_size)


def initialise(network: nn.Module, card: Card, checkpoint: Path) -> list[str]:
    """Give a new network, which `card` describes, the weights of a checkpoint.

    Layers that speak of labels start anew where the labels are others.

    Returns:
        The names of the layers that start anew.

    Raises:
        InputError: the checkpoint is missing, damaged, of another network or variant, or does not fit.
    """
    folder = run_folder(checkpoint)
    theirs = read_card(folder)
    require(theirs, folder, card.network, card.variant, option="--init")
    weights = read_tensors(folder / MODEL)
    anew: set[str] = set()
    if isinstance(network, TwoStage) and theirs.labels != card.labels:
        anew = {"class_logits", "refine"} if network.class_boxes else {"class_logits"}
    kept = {name: value for name, value in weights.items() if name.split(".")[0] not in anew}
    own = {name: value for name, value in network.state_dict().items() if name.split(".")[0] in anew}
    try:
        network.load_state_dict(kept | own)
    except RuntimeError as error:
        raise InputError(f"{folder / MODEL}: weights do not fit: {_short(error)}") from error
    return sorted(anew)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors file; InputError when it is missing or damaged."""
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot read the checkpoint: {error}") from error


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file; a full disk costs nothing, the old file survives.

    Raises:
        TapetumError: it cannot be written.
    """
    with _saving(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # as the umask has it; safetensors lets nobody but the owner read
        save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, temporary, metadata)
        temporary.chmod(mode)


def _short(error: RuntimeError) -> str:
    """PyTorch lists every tensor that does not fit: the first ones say enough."""
    return textwrap.shorten(str(error), 160, placeholder=" ...")


@contextmanager
def _saving(path: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
    except (OSError, SafetensorError) as error:
        raise TapetumError(f"{path}: cannot save the checkpoint: {error}") from error
