"""Every network by its name."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

from edge.errors import ConfigError, InputError
from training.models.colorizer import ABLATIONS, field_colorizer
from training.models.colorizer_paper import PaperColorizer
from training.models.efficientnet_lite import LITE0, LITE2, EfficientNetLite, package_weights
from training.models.faster_rcnn_vgg16 import FasterRcnnVgg16
from training.models.iizuka import Iizuka
from training.models.inception_resnet_v2 import InceptionResNetV2
from training.models.interfaces import ColourNetwork, ContextNetwork
from training.models.recognizer import Recognizer, field_recognizer
from training.models.recognizer_paper import PaperRecognizer
from training.models.two_stage import InputSize, TwoStage
from training.models.weights import read_state_dict
from training.models.zhang import Zhang

RECOGNIZERS = ("paper", "field", "vgg16")
COLORIZERS = ("paper", "field", "zhang", "iizuka")
CONTEXTS = ("efficientnet_lite0", "efficientnet_lite2", "inception_resnet_v2")
_LITE = {scaling.name: scaling for scaling in (LITE0, LITE2)}


def build(
    network: str, variant: str, *, labels: int = 0, input_size: InputSize = 320, pretrained: bool = False
) -> TwoStage | ColourNetwork:
    """A network by its name.

    Args:
        network: "recognizer" or "colorizer".
        variant: of `RECOGNIZERS` or `COLORIZERS`.
        labels: classes of a recognizer, without the background; input_size: of a recognizer.
        pretrained: start from ImageNet weights, where the variant is built on a network that has some.

    Raises:
        InputError: no network or variant of that name.
    """
    if network == "recognizer":
        return build_recognizer(variant, labels, input_size, pretrained=pretrained)
    if network == "colorizer":
        return build_colorizer(variant, pretrained=pretrained)
    raise InputError(f"unknown network {network!r}: recognizer or colorizer")


def build_recognizer(variant: str, labels: int, input_size: InputSize = 320, *, pretrained: bool = False) -> TwoStage:
    """A recognizer by its variant; see `build`."""
    _check("recognizer variant", variant, RECOGNIZERS)
    if variant == "paper":
        return PaperRecognizer(labels, input_size)
    if variant == "vgg16":
        return FasterRcnnVgg16(labels, input_size)
    return field_recognizer(labels, input_size) if pretrained else Recognizer(labels, input_size)


def build_colorizer(variant: str, *, pretrained: bool = False) -> ColourNetwork:
    """A colorizer by its variant; see `build`."""
    _check("colorizer variant", variant, (*COLORIZERS, *ABLATIONS))
    if variant == "paper":
        return PaperColorizer()
    if variant == "zhang":
        return Zhang()
    if variant == "iizuka":
        return Iizuka()
    return field_colorizer(variant, pretrained=pretrained)


def build_context(name: str, weights: Path | None = None) -> ContextNetwork:
    """A context network with its ImageNet weights, in evaluation mode and frozen.

    Args:
        name: of `CONTEXTS`.
        weights: a file with the public state_dict: timm's for Inception-ResNet-v2, the Python package's for
            EfficientNet-Lite, which needs none: the package is there.

    Raises:
        ConfigError: the network needs a file and none is given.
        InputError: an unknown name; or the file is missing, damaged, or does not fit.
    """
    _check("context network", name, CONTEXTS)
    if name in _LITE:
        state = read_state_dict(weights) if weights else package_weights(_LITE[name])
        network: ContextNetwork = EfficientNetLite(_LITE[name], classifier=True)
    elif weights:
        state, network = read_state_dict(weights), InceptionResNetV2()
    else:
        raise ConfigError(f"{name} comes without weights: give its public state_dict with --context-weights FILE")
    try:
        network.load_public(state)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{weights}: not weights of {name}: {_reason(error)}") from error
    return network.requires_grad_(False).eval()


def _reason(error: KeyError | RuntimeError) -> str:
    """One line: what is missing, or the first thing that does not fit."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    lines = [line.strip() for line in str(error).splitlines()]
    return shorten(lines[1] if len(lines) > 1 else lines[0], 160, placeholder=" ...")


def _check(what: str, name: str, choices: tuple[str, ...]) -> None:
    if name not in choices:
        raise InputError(f"unknown {what} {name!r}: {', '.join(choices)}")
