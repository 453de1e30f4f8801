"""Networks by name, weights from files, and what is said of bad ones."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edge.errors import ConfigError, InputError
from training.models import catalogue
from training.models.catalogue import build, build_context
from training.models.colorizer import ABLATIONS
from training.models.efficientnet_lite import LITE0, imagenet_lite, package_weights
from training.models.inception_resnet_v2 import InceptionResNetV2
from training.models.interfaces import ColourNetwork
from training.models.two_stage import TwoStage

# Of timm 1.0.31's inception_resnet_v2: entries of its state_dict, parameters, and the SHA-256 of its lines
# "name 1x2x3" (name and shape), sorted and joined by newlines.
TIMM_ENTRIES, TIMM_PARAMETERS = 1306, 55_843_464
TIMM_SHA256 = "69a30b88d045843f0e4260809cb0c97e324307e854c9850581e3a47a9f28cbe4"


def test_inception_resnet_v2_is_named_and_shaped_as_in_timm() -> None:
    with torch.device("meta"):
        network = InceptionResNetV2()
    state = network.state_dict()
    assert len(state) == TIMM_ENTRIES
    assert sum(p.numel() for p in network.parameters()) == TIMM_PARAMETERS
    lines = sorted(f"{name} {'x'.join(map(str, value.shape))}" for name, value in state.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == TIMM_SHA256


def test_inception_resnet_v2_gives_logits_at_its_own_size() -> None:
    with torch.device("meta"):
        network = InceptionResNetV2().eval()
        logits = network(torch.rand(2, 1, network.input_px, network.input_px))
    assert network.input_px == 299
    assert logits.shape == (2, 1000)


def test_a_public_state_dict_loads(tmp_path: Path) -> None:
    """Every entry holds one repeated number, so the file is small."""
    with torch.device("meta"):
        names = InceptionResNetV2().state_dict()
    state = {
        name: torch.tensor(i % 7, dtype=value.dtype).expand(value.shape)
        for i, (name, value) in enumerate(names.items())
    }
    torch.save(state, tmp_path / "public.pth")
    network = build_context("inception_resnet_v2", tmp_path / "public.pth")
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("variant", catalogue.RECOGNIZERS)
def test_every_recognizer_has_its_name(variant: str) -> None:
    with torch.device("meta"):
        network = build("recognizer", variant, labels=7, input_size=(96, 128))
    assert isinstance(network, TwoStage)
    assert (network.labels, network.height, network.width) == (7, 96, 128)


@pytest.mark.parametrize("variant", catalogue.COLORIZERS)
def test_every_colorizer_has_its_name(variant: str) -> None:
    with torch.device("meta"):
        network = build("colorizer", variant)
    assert isinstance(network, ColourNetwork)
    losses = {"paper": "mse", "field": "weighted", "zhang": "classes", "iizuka": "mse"}
    assert (network.loss, network.uses_context) == (losses[variant], variant in ("paper", "field"))


@pytest.mark.parametrize("variant", ABLATIONS)
def test_every_ablation_differs_from_what_ships(variant: str) -> None:
    with torch.device("meta"):
        shipped, network = build("colorizer", "field"), build("colorizer", variant)
    assert isinstance(network, ColourNetwork) and isinstance(shipped, ColourNetwork)
    assert network.loss != shipped.loss or set(network.state_dict()) != set(shipped.state_dict())


def test_pretrained_means_imagenet_weights() -> None:
    imagenet = imagenet_lite().stages[0][0].layers[1].weight
    for name, part in (("recognizer", "backbone"), ("colorizer", "encoder")):
        for pretrained in (True, False):
            network = build(name, "field", labels=2, pretrained=pretrained)
            weight = network.get_submodule(part).stages[0][0].layers[1].weight
            assert torch.equal(weight, imagenet) == pretrained


@pytest.mark.parametrize(("name", "side"), [("efficientnet_lite0", 224), ("efficientnet_lite2", 260)])
def test_context_networks_come_with_weights(name: str, side: int) -> None:
    network = build_context(name)
    assert network.input_px == side
    assert not network.training
    with torch.no_grad():
        assert network(torch.rand(1, 1, 64, 64)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("network", "variant", "said"),
    [
        ("upscaler", "field", "unknown network 'upscaler': recognizer or colorizer"),
        ("recognizer", "zhang", "unknown recognizer variant 'zhang': paper, field, vgg16"),
        (
            "colorizer",
            "vgg16",
            f"unknown colorizer variant 'vgg16': paper, field, zhang, iizuka, {', '.join(ABLATIONS)}",
        ),
    ],
)
def test_unknown_names_are_told_with_the_choices(network: str, variant: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        build(network, variant)
    assert str(error.value) == said


def test_an_unknown_context_network_is_told_with_the_choices() -> None:
    with pytest.raises(InputError, match=r"unknown context network 'resnet': efficientnet_lite0, .*, inception"):
        build_context("resnet")


def test_inception_needs_a_file() -> None:
    with pytest.raises(ConfigError, match="--context-weights FILE"):
        build_context("inception_resnet_v2")


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_weights_are_never_unpickled(tmp_path: Path) -> None:
    file, sprung = tmp_path / "weights.pth", tmp_path / "sprung"
    torch.save({"_fc.weight": Trap(sprung)}, file)
    with pytest.raises(InputError, match="not a file of weights"):
        build_context("efficientnet_lite0", file)
    file.write_bytes(pickle.dumps({"_fc.weight": Trap(sprung)}))
    with pytest.raises(InputError, match="not a file of weights"):
        build_context("efficientnet_lite0", file)
    assert not sprung.exists()


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 and no more"])
def test_damaged_weights_are_told_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(content)
    with pytest.raises(InputError) as error:
        build_context("efficientnet_lite0", file)
    assert str(error.value).startswith(f"{file}: not a file of weights: ")
    assert "\n" not in str(error.value)


def test_missing_weights_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such weights file"):
        build_context("efficientnet_lite2", tmp_path / "none.pth")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {}, {"epoch": 3}, {"state_dict": {"a": torch.zeros(1)}}])
def test_something_else_than_a_state_dict_is_told(tmp_path: Path, content: object) -> None:
    file = tmp_path / "weights.pth"
    torch.save(content, file)
    with pytest.raises(InputError, match="not a state_dict"):
        build_context("efficientnet_lite0", file)


def test_weights_of_another_network_are_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({"conv1.weight": torch.zeros(2, 2)}, file)
    for name in catalogue.CONTEXTS:
        with pytest.raises(InputError) as error:
            build_context(name, file)
        assert str(error.value).startswith(f"{file}: not weights of {name}: ")
        assert "\n" not in str(error.value) and len(str(error.value)) < 350


def test_weights_of_another_size_are_told(tmp_path: Path) -> None:
    file = tmp_path / "lite0.pth"
    torch.save(package_weights(LITE0), file)
    with pytest.raises(InputError, match="not weights of efficientnet_lite2"):
        build_context("efficientnet_lite2", file)
