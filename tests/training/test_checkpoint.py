"""Checkpoints: what comes back, what is refused, what survives."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from edge.errors import InputError, TapetumError
from training.checkpoint import (
    CARD,
    MODEL,
    Card,
    build_network,
    initialise,
    load_network,
    read_card,
    save_weights,
)
from training.models.catalogue import build_recognizer
from training.models.colorizer import Colorizer
from training.models.two_stage import TwoStage


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    network = Colorizer()
    save_weights(tmp_path, network.state_dict(), Card("colorizer", input_size=256, context="efficientnet_lite2"))
    for checkpoint in (tmp_path, tmp_path / MODEL):
        again, card = load_network(checkpoint, "colorizer")
        assert (card.input_size, card.context, card.schema) == (256, "efficientnet_lite2", 2)
        assert card.preprocessing == {"resize": "squash"}
        assert all(torch.equal(v, again.state_dict()[k]) for k, v in network.state_dict().items())


def test_cards_of_the_first_schema_are_still_read(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text('{"network": "colorizer", "variant": "field", "step": 4, "schema": 1}')
    card = read_card(tmp_path)
    assert (card.context, card.step, card.schema) == ("efficientnet_lite0", 4, 2)
    (tmp_path / CARD).write_text('{"network": "recognizer", "labels": ["cat"], "input_size": 320, "schema": 1}')
    card = read_card(tmp_path)
    assert card.context == "" and card.preprocessing == {"resize": "letterbox", "pad": 128 / 255}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / CARD).unlink(), "cannot read the checkpoint's card"),
        (lambda d: (d / CARD).write_text("{"), "not a checkpoint's card"),
        (lambda d: (d / CARD).write_text('{"network": "colorizer", "colour": 1}'), "not a checkpoint's card"),
        (lambda d: (d / CARD).write_text('{"network": "colorizer", "schema": 99}'), "card schema 99"),
        (lambda d: (d / CARD).write_text('{"network": "colorizer", "variant": "x"}'), "variant 'x'"),
        (lambda d: (d / CARD).write_text('{"network": "colorizer", "variant": "paper"}'), "do not fit the card"),
        (lambda d: (d / CARD).write_text('{"network": "recognizer"}'), "not of the colorizer"),
        (lambda d: (d / MODEL).write_bytes(b"garbage"), "cannot read the checkpoint"),
        (lambda d: (d / MODEL).unlink(), "cannot read the checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path: Path, damage: object, message: str) -> None:
    save_weights(tmp_path, Colorizer().state_dict(), Card("colorizer"))
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(InputError, match=message) as caught:
        load_network(tmp_path, "colorizer")
    assert "\n" not in str(caught.value)


def test_another_variant_than_the_one_asked_for_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path, Colorizer().state_dict(), Card("colorizer"))
    with pytest.raises(InputError, match="a colorizer of variant field: add --variant field"):
        load_network(tmp_path, "colorizer", "paper")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    save_weights(tmp_path, Colorizer().state_dict(), Card("colorizer"))
    torch.save(Colorizer().state_dict(), tmp_path / MODEL)
    with pytest.raises(InputError, match="cannot read the checkpoint"):
        load_network(tmp_path, "colorizer")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(tmp_path, Colorizer().state_dict(), Card("colorizer"))
    before = (tmp_path / MODEL).read_bytes()

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(TapetumError, match="No space left") as caught:
        save_weights(tmp_path, Colorizer().state_dict(), Card("colorizer"))
    assert caught.value.exit_code == 1
    assert (tmp_path / MODEL).read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [CARD, MODEL]


@pytest.fixture
def recognizer(tmp_path: Path) -> Path:
    """A checkpoint that knows cats and dogs."""
    card = Card("recognizer", "paper", labels=["cat", "dog"], input_size=128)
    save_weights(tmp_path / "run", build_network(card).state_dict(), card)
    return tmp_path / "run"


def weights_of(checkpoint: Path) -> TwoStage:
    network, _ = load_network(checkpoint, "recognizer")
    assert isinstance(network, TwoStage)
    return network


def test_fine_tuning_starts_from_the_weights_of_a_checkpoint(recognizer: Path) -> None:
    network = build_recognizer("paper", 2, 192)
    assert initialise(network, Card("recognizer", "paper", labels=["cat", "dog"], input_size=192), recognizer) == []
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in weights_of(recognizer).state_dict().items())


@pytest.mark.parametrize("labels", [["cat", "cow"], ["cat", "dog", "cow"]])
def test_layers_of_other_labels_start_anew(recognizer: Path, labels: list[str]) -> None:
    network = build_recognizer("paper", len(labels), 128)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    anew = initialise(network, Card("recognizer", "paper", labels=labels), recognizer)
    assert anew == ["class_logits", "refine"]  # the paper's variant refines boxes for each class
    assert torch.equal(network.fc1.weight, weights_of(recognizer).fc1.weight)
    assert torch.equal(network.class_logits.weight, before["class_logits.weight"])
    assert torch.equal(network.refine.weight, before["refine.weight"])


def test_weights_of_another_variant_are_refused(recognizer: Path) -> None:
    network = build_recognizer("field", 2, 128)
    with pytest.raises(InputError, match="variant paper"):
        initialise(network, Card("recognizer", "field", labels=["cat", "dog"]), recognizer)


def test_a_card_is_plain_json(tmp_path: Path) -> None:
    save_weights(tmp_path, {"a": torch.zeros(1)}, Card("colorizer", metrics={"training_loss": 0.5}))
    document = json.loads((tmp_path / CARD).read_text())
    assert document["metrics"] == {"training_loss": 0.5} and document["schema"] == 2


def test_who_may_read_a_checkpoint_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_weights(tmp_path, {"a": torch.zeros(1)}, Card("colorizer"))
    finally:
        os.umask(before)
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {CARD: 0o640, MODEL: 0o640}
