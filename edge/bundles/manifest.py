"""What a bundle's manifest.json says, and the interface that its three networks must have. Format: docs/bundle.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge.errors import one_line

SCHEMA: Final = 2
TOLD: Final = 3  # faults of a file, in one line; the others by their number

ModelName = Literal["context", "colorizer", "recognizer"]
Precision = Literal["fp32", "fp16", "int8"]
MODEL_NAMES: tuple[ModelName, ...] = get_args(ModelName)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)  # from the most exact

Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Dimension = Annotated[int, Field(ge=1, le=1 << 14)]  # no network here comes near; memory is taken by it
# A plain name: what is not in the bundle's folder is not in the bundle.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class _Section(BaseModel):
    """Unknown keys are errors; values are not coerced from other types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class TensorSpec(_Section):
    """Type and shape of one input or output. Shapes are fixed."""

    dtype: Literal["float32", "int64"]
    shape: tuple[Dimension, ...]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


class Preprocessing(_Section):
    """How a frame (uint8 luma) becomes the model's first input: see edge/vision/preprocess.py.

    `scale` multiplies the resized 8-bit values; `pad` fills a letterbox, in the scaled range.
    """

    resize: Literal["squash", "letterbox"]
    scale: Annotated[float, Field(gt=0)] = 1 / 255
    pad: float | None = None

    @model_validator(mode="after")
    def _pad_with_letterbox(self) -> Preprocessing:
        if (self.resize == "letterbox") != (self.pad is not None):
            raise ValueError("pad belongs to letterbox, and only there")
        return self


class GraphFile(_Section):
    """One ONNX file. It is self-contained: no external data."""

    file: FileName
    sha256: Sha256
    bytes: Annotated[int, Field(ge=1)]


class Cost(_Section):
    """What one precision of a network costs: its file, and the median time of one frame, one thread, batch 1."""

    bytes: Annotated[int, Field(ge=1)]
    median_ms: Annotated[float, Field(gt=0)]
    runtime: Text
    machine: Text


class ImageSet(_Section):
    """Images that something was measured on; sha256 over the contents of the files, one after another."""

    images: Annotated[int, Field(ge=1)]
    sha256: Sha256


class ModelEntry(_Section):
    """One network in one or more precisions, the same interface in each.

    Attributes:
        accuracy: what each precision was measured to reach on the images `judged_on`, also one that is not shipped.
        cost: what each precision costs on the machine that measured it.
        float_layers: nodes that a precision leaves in a wider type, because their error shows.
        refused: precision and the reason: it lost too much, and is not loaded unless the user insists.
        chosen_fixed: the user fixed `chosen`; else it moves to the cheapest precision that is not refused.
    """

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    preprocessing: Preprocessing
    precisions: dict[Precision, GraphFile]
    chosen: Precision
    chosen_fixed: bool = False
    accuracy: dict[Precision, dict[str, float]] = {}
    judged_on: ImageSet | None = None
    cost: dict[Precision, Cost] = {}
    float_layers: dict[Precision, tuple[Text, ...]] = {}
    refused: dict[Precision, Text] = {}

    @model_validator(mode="after")
    def _chosen_is_there(self) -> ModelEntry:
        if self.chosen not in self.precisions:
            raise ValueError(f"chosen precision {self.chosen} is not among precisions")
        return self

    @property
    def cheapest(self) -> Precision | None:
        """The narrowest precision that is there and not refused; None where all are refused."""
        usable = [p for p in PRECISIONS if p in self.precisions and p not in self.refused]
        return usable[-1] if usable else None

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width in pixels of the picture that the network takes."""
        height, width = next(spec.shape[2:] for spec in self.inputs.values() if len(spec.shape) == 4)
        return height, width


class Calibration(ImageSet):
    """The images that INT8 was calibrated with, and how ranges were found on them."""

    method: Literal["minmax", "entropy", "percentile"] = "minmax"


class Manifest(_Section):
    """manifest.json. `provenance` is free text: training data, commands, licences."""

    schema_number: Literal[1, 2] = Field(SCHEMA, alias="schema")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    version: Annotated[str, Field(min_length=1, max_length=100)]
    created_at: AwareDatetime
    labels: Annotated[tuple[Text, ...], Field(min_length=1)]
    models: dict[ModelName, ModelEntry]
    calibration: Calibration | None = None
    provenance: dict[str, str] = {}

    @model_validator(mode="after")
    def _is_whole(self) -> Manifest:
        missing = [name for name in MODEL_NAMES if name not in self.models]
        if missing:
            raise ValueError(f"models lacks {', '.join(missing)}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels are not unique")
        for name, model in self.models.items():
            _check_interface(name, model)
        if self.models["context"].outputs["context"] != self.models["colorizer"].inputs["context"]:
            raise ValueError("the context network's output is not what the colorizer takes")
        return self


# Inputs, outputs and resize of each network; None is any size.
_Shape = tuple[int | None, ...]
_Tensors = dict[str, tuple[str, _Shape]]
_INTERFACES: dict[ModelName, tuple[_Tensors, _Tensors, str]] = {
    "context": (
        {"luma": ("float32", (1, 1, None, None))},
        {"context": ("float32", (1, None))},
        "squash",
    ),
    "colorizer": (
        {"luma": ("float32", (1, 1, None, None)), "context": ("float32", (1, None))},
        {"ab": ("float32", (1, 2, None, None))},
        "squash",
    ),
    "recognizer": (
        {"image": ("float32", (1, 1, None, None))},
        {"boxes": ("float32", (1, None, 4)), "scores": ("float32", (1, None)), "labels": ("int64", (1, None))},
        "letterbox",
    ),
}


INPUTS: Final[dict[ModelName, tuple[str, ...]]] = {name: tuple(takes) for name, (takes, _, _) in _INTERFACES.items()}
OUTPUTS: Final[dict[ModelName, tuple[str, ...]]] = {name: tuple(gives) for name, (_, gives, _) in _INTERFACES.items()}


def _check_interface(name: ModelName, model: ModelEntry) -> None:
    inputs, outputs, resize = _INTERFACES[name]
    _check_tensors(f"{name} inputs", model.inputs, inputs)
    _check_tensors(f"{name} outputs", model.outputs, outputs)
    if model.preprocessing.resize != resize:
        raise ValueError(f"{name} preprocessing must be {resize}")
    if name == "recognizer" and len({spec.shape[1] for spec in model.outputs.values()}) != 1:
        raise ValueError("recognizer outputs do not agree in their number of slots")


def _check_tensors(where: str, specs: dict[str, TensorSpec], wanted: _Tensors) -> None:
    if set(specs) != set(wanted):
        raise ValueError(f"{where} must be {', '.join(wanted)}")
    for name, (dtype, shape) in wanted.items():
        spec = specs[name]
        fits = len(spec.shape) == len(shape) and all(
            want in (None, have) for want, have in zip(shape, spec.shape, strict=True)
        )
        if spec.dtype != dtype or not fits:
            pattern = ", ".join("any" if size is None else str(size) for size in shape)
            raise ValueError(f"{where}: {name} must be {dtype}[{pattern}], not {spec}")


def explain(error: ValidationError) -> str:
    """The faults that were found in a file, in one line: their keys and what is wrong."""
    faults = [_fault(item["loc"], item["msg"]) for item in error.errors(include_url=False, include_context=False)]
    return first_of(faults)


def first_of(faults: Sequence[object]) -> str:
    """The first faults of a file, in one line, and the number of the others."""
    more = f" (and {len(faults) - TOLD} more)" if len(faults) > TOLD else ""
    return "; ".join(map(str, faults[:TOLD])) + more


def _fault(location: Iterable[str | int], message: str) -> str:
    key = ".".join(map(str, location)) or "top level"
    return one_line(f"{key}: {message.removeprefix('Value error, ')}")  # keys may be anything
