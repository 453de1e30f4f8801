"""The loop on a tiny network: resuming, stopping, precision, what it refuses."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from edge.errors import ConfigError, InputError
from tests.training.tiny import STEPS, batches, tiny_training
from training.checkpoint import MODEL, STATE, Card, read_card, read_tensors, write_tensors
from training.learning.batches import Batches, loader
from training.learning.curves import CURVES, draw_curves, read_log
from training.learning.devices import Precision, choose_device
from training.learning.journal import Journal
from training.learning.loop import BAD_BATCH, train
from training.learning.ranks import Ranks
from training.learning.recipe import Recipe, recipe_of
from training.learning.state import NonFiniteLossError, Training


def run(training: Training, losses: torch.nn.Module, source: Iterator[list[Tensor]], folder: Path) -> None:
    with Journal(folder, step=training.step, steps=training.recipe.steps) as journal:
        train(training, losses, source, journal, Card("colorizer"))


def weights(training: Training) -> dict[str, Tensor]:
    return {**training.network.state_dict(), **{f"average.{k}": v for k, v in training.average.items()}}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_run_that_is_interrupted_and_resumed_ends_with_the_same_weights(
    optimizer: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe(STEPS, optimizer=optimizer, warm_up=3, learning_rate=0.01)
    losses, whole = tiny_training(recipe=recipe)
    run(whole, losses, batches(), tmp_path / "whole")

    losses, first = tiny_training(recipe=recipe)

    def interrupted() -> Iterator[list[Tensor]]:
        for step, batch in enumerate(batches()):
            if step == 8:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    with pytest.raises(KeyboardInterrupt):
        run(first, losses, interrupted(), tmp_path / "parts")
    assert read_card(tmp_path / "parts").step == 9  # the step is finished first
    assert capfd.readouterr().err.count("finishing the step and saving; Ctrl-C again leaves without saving\n") == 1
    assert (tmp_path / "parts" / CURVES).exists()

    losses, second = tiny_training(seed=5, recipe=recipe)
    second.resume(tmp_path / "parts")
    run(second, losses, batches(second.step), tmp_path / "parts")
    assert_same(weights(whole), weights(second))
    logged = [next(reversed(read_log(tmp_path / part).values())) for part in ("whole", "parts")]
    assert logged[0]["step"] == logged[1]["step"] == STEPS


def test_a_loss_repeats_after_resuming(tmp_path: Path) -> None:
    losses, training = tiny_training()
    source = [batch[0] for batch in batches()]
    expected = [training.update(losses(x)) for x in source[:10]]
    assert expected[-1]["squared"] != expected[-2]["squared"]
    training.save(tmp_path, Card("colorizer"))
    torch.manual_seed(3)
    expected = [training.update(losses(x)) for x in source[10:]]
    losses, again = tiny_training(seed=1)
    again.resume(tmp_path)
    torch.manual_seed(3)
    assert [again.update(losses(x)) for x in source[10:]] == expected


def test_a_non_finite_loss_stops_and_its_batch_is_saved(tmp_path: Path) -> None:
    losses, training = tiny_training(recipe=Recipe(STEPS, save_every=5))
    poisoned = [batch if step != 7 else [batch[0] * math.inf] for step, batch in enumerate(batches())]
    with pytest.raises(NonFiniteLossError, match=rf"^step 7: the loss is not finite \(squared .*{BAD_BATCH}$"):
        run(training, losses, iter(poisoned), tmp_path)
    assert read_card(tmp_path).step == 5  # what was saved last stays
    for file in (MODEL, STATE):
        assert all(torch.isfinite(tensor).all() for tensor in read_tensors(tmp_path / file).values())
    with safe_open(tmp_path / BAD_BATCH, "pt") as saved:
        assert saved.metadata()["step"] == "7"
        assert not math.isfinite(json.loads(saved.metadata()["losses"])[0]["squared"])
        (name,) = saved.keys()
        assert torch.equal(saved.get_tensor(name), poisoned[7][0])


def test_a_finite_loss_with_an_infinite_gradient_changes_nothing() -> None:
    losses, training = tiny_training()
    training.update(losses(next(batches())[0]))
    before = {k: v.clone() for k, v in weights(training).items()}
    total = next(training.network.parameters()).sum()
    with pytest.raises(NonFiniteLossError, match="step 1: the gradient is not finite"):
        training.update({"root": (total - total.detach()).sqrt()})  # 0, and steep without end
    assert training.step == 1
    assert_same(before, weights(training))


def test_an_image_that_fails_keeps_what_was_learnt(tmp_path: Path) -> None:
    losses, training = tiny_training()

    def failing() -> Iterator[list[Tensor]]:
        yield from list(batches())[:4]
        raise InputError("photo.jpg: not a readable image")

    with pytest.raises(InputError, match="photo"):
        run(training, losses, failing(), tmp_path)
    assert read_card(tmp_path).step == 4


class Broken:
    epoch = 0

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Tensor:
        raise InputError("photo.jpg: not a readable image")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_loader_process_is_one_line(workers: int, tmp_path: Path) -> None:
    losses, training = tiny_training()
    order = Batches(torch.ones(8), 8, 0, 0, STEPS, Ranks())
    source = iter(loader(Broken(), order, workers=workers, collate=None, pin=False))
    with pytest.raises(InputError) as caught:
        run(training, losses, source, tmp_path)
    assert str(caught.value) == "photo.jpg: not a readable image"


def test_a_bad_batch_that_cannot_be_saved_spoils_no_checkpoint(tmp_path: Path) -> None:
    losses, training = tiny_training(recipe=Recipe(STEPS, save_every=5))
    (tmp_path / BAD_BATCH / "in the way").mkdir(parents=True)
    poisoned = [batch if step != 7 else [batch[0] * math.inf] for step, batch in enumerate(batches())]
    with pytest.raises(NonFiniteLossError, match=rf"^step 7: the loss is not finite .*{BAD_BATCH}: cannot save"):
        run(training, losses, iter(poisoned), tmp_path)
    assert read_card(tmp_path).step == 5


def test_half_precision_learns_and_its_overflow_skips_a_step(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert Precision("auto", cpu).dtype == torch.float32
    losses, _ = tiny_training()
    training = Training(losses.network, Recipe(STEPS), precision=Precision("fp16", cpu))
    before = {k: v.clone() for k, v in losses.network.state_dict().items()}
    overflowing = losses(next(batches())[0])["squared"] * 1e36  # finite, but not when scaled
    training.update({"huge": overflowing})
    assert_same(before, losses.network.state_dict())
    assert training.step == 1 and training.scaler.get_scale() == 2.0**15
    for x in batches(1):
        with training.precision.autocast():
            parts = losses(*x)
        training.update(parts)
    assert not torch.equal(before["fast.weight"], losses.network.fast.weight)
    training.save(tmp_path, Card("colorizer"))
    again = Training(losses.network, Recipe(STEPS), precision=Precision("fp16", cpu))
    again.resume(tmp_path)
    assert again.scaler.state_dict() == training.scaler.state_dict()


def test_bfloat16_computes_in_less(tmp_path: Path) -> None:
    losses, _ = tiny_training()
    x = next(batches())[0]
    with Precision("bf16").autocast():
        assert losses.network.slow(x).dtype == torch.bfloat16
    with Precision("fp32").autocast():
        assert losses.network.slow(x).dtype == torch.float32


def test_the_average_is_what_ships_and_the_weights_go_on() -> None:
    losses, training = tiny_training()
    for x in batches():
        training.update(losses(*x))
    before = {k: v.clone() for k, v in losses.network.state_dict().items()}
    with training.averaged() as network:
        assert not network.training
        assert_same(dict(network.state_dict()), training.average)
        assert not torch.equal(training.average["fast.weight"], before["fast.weight"])
    assert losses.network.training
    assert_same(before, dict(losses.network.state_dict()))


def test_the_papers_recipe() -> None:
    recipe = recipe_of("paper", 10_000, optimizer=None, schedule=None, epoch_steps=10.0)
    assert (recipe.optimizer, recipe.learning_rate, recipe.ema_decay) == ("adam", 1e-3, 0.0)
    assert recipe.factor(0) == 1.0
    assert recipe.factor(10) == pytest.approx(0.98)
    assert recipe.factor(9_999) == 0.1
    assert recipe_of("paper", 100, schedule="cosine").schedule == "cosine"


def test_the_fields_recipe() -> None:
    recipe = recipe_of("field", 1000, save_every=None)
    assert (recipe.optimizer, recipe.schedule, recipe.save_every) == ("adamw", "cosine", 250)
    assert recipe.factor(0) == 0.01 and recipe.factor(100) == 1.0
    assert recipe.factor(1000) == pytest.approx(recipe.final_factor)


def test_pretrained_parts_learn_more_slowly() -> None:
    losses, training = tiny_training(recipe=Recipe(STEPS, warm_up=0))
    training.update(losses(next(batches())[0]))
    rates = [group["lr"] for group in training.optimizer.param_groups]
    assert rates == pytest.approx([1e-3, 0.3e-3])


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    _, training = tiny_training()
    training.save(tmp_path, Card("colorizer"))
    other = Training(torch.nn.Linear(2, 2), Recipe(STEPS))
    with pytest.raises(InputError, match=r"state\.safetensors: not of this network"):
        other.resume(tmp_path)


def test_a_state_that_lacks_something_is_refused(tmp_path: Path) -> None:
    losses, training = tiny_training()
    training.update(losses(*next(batches())))
    training.save(tmp_path, Card("colorizer"))
    state = read_tensors(tmp_path / STATE)
    del state["optimizer.exp_avg.fast.weight"]
    write_tensors(tmp_path / STATE, state)
    with pytest.raises(InputError, match=r"state\.safetensors: not of this network: .*exp_avg\.fast\.weight"):
        tiny_training()[1].resume(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="no usable GPU"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_a_log_of_a_run_that_was_killed_and_resumed(tmp_path: Path) -> None:
    lines = [
        '{"step": 50, "a": 1.0}',
        '{"step": 100, "a": 2.0}',
        '{"step": 150, "a": 9.0}',
        '{"step": 100, "a": 3.0}',
    ]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, '{"step": 15']))
    assert [(step, entry["a"]) for step, entry in read_log(tmp_path).items()] == [(50, 1.0), (100, 3.0)]


def test_the_name_of_a_run_is_no_formula(tmp_path: Path) -> None:
    folder = tmp_path / r"$\frac$"
    folder.mkdir()
    (folder / "log.jsonl").write_text('{"step": 1, "learning_rate": 0.1, "a": 1.0}\n')
    draw_curves(folder)
    assert (folder / CURVES).exists()
