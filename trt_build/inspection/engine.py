"""What can be said of an engine: what its sidecar tells, and on the GPU that it was built for TensorRT's own word."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.engines.store import EngineError, Sidecar, Wanted, check_engine, read_engine, read_sidecar
from edge.errors import TapetumError
from edge.inference.tensorrt import load_tensorrt, tensorrt_logger
from trt_build.engines.target import target_here


@dataclass(frozen=True)
class InspectedEngine:
    """An engine that is the file its sidecar describes.

    Attributes:
        layers: as TensorRT names them; with `profiling_verbosity` DETAILED each is a dictionary. None where it could
            not be asked.
        hidden: why `layers` is None.
    """

    sidecar: Sidecar
    layers: list[Any] | None
    hidden: str | None


def inspect_engine(engine: Path) -> InspectedEngine:
    """Read the sidecar, check the engine against it, and ask TensorRT where that is possible.

    Raises:
        EngineError: no sidecar, a damaged one, or the engine is not the file that was built.
    """
    sidecar = read_sidecar(engine)
    itself = Wanted(sidecar.model, sidecar.precision, sidecar.onnx_sha256, sidecar.target)
    check_engine(engine, itself)  # that it is whole, wherever we are
    try:
        return InspectedEngine(sidecar, _layers(read_engine(engine, target_here())), None)
    except EngineError as error:
        return InspectedEngine(sidecar, None, error.reason)
    except TapetumError as error:
        return InspectedEngine(sidecar, None, str(error))


def summary(inspected: InspectedEngine) -> list[str]:
    """A line for each fact."""
    sidecar = inspected.sidecar
    gpu = f"{sidecar.gpu}, compute capability {sidecar.compute_capability}" if sidecar.gpu else "none: a dry run"
    facts = {
        "TensorRT": sidecar.tensorrt,
        "GPU": gpu,
        "CUDA, L4T": f"{sidecar.cuda or 'none'}, {sidecar.l4t or 'none'}",
        "built": f"{sidecar.created_at:%Y-%m-%d %H:%M} UTC, {sidecar.flags}",
        "bytes": f"{sidecar.engine_bytes}",
        "ONNX": f"sha256 {sidecar.onnx_sha256}",
        "calibration": f"sha256 {sidecar.calibration_sha256}" if sidecar.calibration_sha256 else "none",
        "takes": ", ".join(f"{name} {spec}" for name, spec in sidecar.inputs.items()),
        "gives": ", ".join(f"{name} {spec}" for name, spec in sidecar.outputs.items()),
    }
    lines = [f"{sidecar.model} {sidecar.precision}", *(f"  {name:<12} {text}" for name, text in facts.items())]
    if inspected.layers is None:
        return [
            *lines,
            f"  layers       not shown: TensorRT tells them on the GPU of the engine alone: {inspected.hidden}",
        ]
    return [*lines, f"  layers       {len(inspected.layers)}", *(f"    {_name(layer)}" for layer in inspected.layers)]


def document(inspected: InspectedEngine) -> dict[str, Any]:
    """Everything, for a JSON file."""
    sidecar = inspected.sidecar.model_dump(mode="json", by_alias=True)
    return {"sidecar": sidecar, "layers": inspected.layers, "hidden": inspected.hidden}


def _layers(plan: bytes) -> list[Any]:
    trt = load_tensorrt()
    runtime = trt.Runtime(tensorrt_logger())
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise TapetumError("TensorRT cannot load it")
    inspector = engine.create_engine_inspector()
    found = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    layers: list[Any] = found["Layers"]
    return layers


def _name(layer: Any) -> str:
    """A layer is its name alone where an engine was built without details."""
    return f"{layer.get('LayerType', '')}  {layer.get('Name', '')}" if isinstance(layer, dict) else str(layer)
