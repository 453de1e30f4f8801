"""How a run begins: what it starts from, and its folder, which a command line that is refused leaves as it was."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge.atomic import write_atomic
from edge.errors import ConfigError, InputError
from training.checkpoint import MODEL, STATE, Card, read_card, require
from training.learning.tasks import HELD_OUT

SHIPPED = Path(__file__).parents[1] / "weights"  # a folder for each network that ships its weights
log = logging.getLogger(__name__)


def initial(options: argparse.Namespace) -> Path | None:
    """The run folder to start from; None where that is a new network.

    Raises:
        ConfigError: no weights of the network ship.
        InputError: there is no such run.
    """
    shipped = SHIPPED / options.network
    asked = options.init or ("shipped" if options.variant == "field" and shipped.is_dir() else "imagenet")
    if asked == "shipped" and not shipped.is_dir():
        raise ConfigError(f"--init shipped: no weights of the {options.network} ship: give a run folder, or imagenet")
    if asked == "imagenet":
        return None
    run = shipped if asked == "shipped" else Path(asked)
    if not run.exists() and not options.resume:
        raise InputError(f"--init {asked}: no such run: give a run folder, imagenet or shipped")
    return run


def name_of(init: Path | None) -> str:
    """What a card says of `initial`."""
    if init is None:
        return "imagenet"
    return "shipped" if init.parent == SHIPPED else init.name


@contextmanager
def claimed(options: argparse.Namespace) -> Iterator[Card | None]:
    """The run folder, made before any long work, and the card of the run that is in it, if one is to be resumed.

    A folder that was made for nothing, because the block raises, is removed.

    Raises:
        ConfigError: it holds a run already, or is none.
        InputError: there is no run to resume, or one of another network, variant or context network.
    """
    run: Path = options.out
    if run.is_file():
        raise ConfigError(f"--out {run}: is a file: give a folder")
    before = _resumed(options) if options.resume else None
    if not options.resume and (run / STATE).exists():
        raise ConfigError(f"{run} holds a run already: add --resume, or choose another --out")
    if not options.resume and (run / MODEL).exists():
        raise ConfigError(f"{run} holds weights without {STATE} to resume from: choose another --out")
    is_new = not run.exists()
    run.mkdir(parents=True, exist_ok=True)
    try:
        yield before
    except BaseException:
        if is_new:
            with suppress(OSError):  # there is something in it
                run.rmdir()
        raise


def _resumed(options: argparse.Namespace) -> Card:
    run: Path = options.out
    if not (run / STATE).exists():
        raise InputError(f"{run}: no run to resume there: leave out --resume")
    card = read_card(run)
    require(card, run, options.network, options.variant, option="--out")
    if options.network == "colorizer" and card.context != options.context:
        raise InputError(f"{run}: the run's context network is another: add --context {card.context}")
    if card.step > options.steps:
        raise ConfigError(f"{run}: already has {card.step} steps: give --steps more than that")
    return card


def take_over(run: Path, before: Card, card: Card) -> None:
    """Put into the card of a resumed run what its own card says of the time before.

    Raises:
        InputError: the run is of other labels than the data.
    """
    if before.labels != card.labels:
        raise InputError(f"{run}: the run has other labels than the data: choose another --out")
    if before.data.get("sha256", card.data["sha256"]) != card.data["sha256"]:
        log.warning("%s: the data have changed since the run began", run)
    for name, value in before.recipe.items():
        if card.recipe.get(name) != value:
            log.warning("%s: %s was %s, is %s from here on", run, name, value, card.recipe.get(name))
    if card.command not in before.command:
        card.command = f"{before.command}; {card.command}"
    card.metrics = before.metrics
    card.data["init"] = before.data.get("init", card.data["init"])


def write_held_out(run: Path, files: list[Path]) -> None:
    """List the files that are not learnt from."""
    lines = "".join(f"{file.absolute()}\n" for file in files)
    write_atomic(run / HELD_OUT, lines.encode(errors="surrogateescape"))
