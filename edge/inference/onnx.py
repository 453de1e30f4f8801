"""ONNX graphs on the CPU, by OpenVINO. The only file that imports openvino."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.errors import BundleError
from edge.inference.base import Array, Runner, Specs, check_declared
from edge.inference.signal_stack import kept_signal_stack

# `import openvino` would import its model converter too, and that one, when imported, forks a process to tell an
# analytics service and writes to the home folder. A field unit does neither. OpenVINO goes on where it is absent.
sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
import openvino  # noqa: E402

log = logging.getLogger(__name__)


class OnnxRunner(Runner):
    """A network on the CPU. Tensors are shared with OpenVINO, not copied, in both directions."""

    def __init__(
        self,
        path: Path,
        inputs: Specs,
        outputs: Specs,
        *,
        threads: int = 0,
        cache_dir: Path | None = None,
        content: bytes | None = None,
    ) -> None:
        """Read and compile a graph.

        Args:
            path: the ONNX file.
            inputs, outputs: what the manifest declares.
            threads: CPU threads; 0 leaves it to OpenVINO (one per core).
            cache_dir: where compiled networks are kept for the next start; None keeps none, and so does, with a
                warning, a folder that cannot be written.
            content: of the file, where that was read and checked already.

        Raises:
            BundleError: the graph cannot be read or compiled, or is not what the manifest declares.
        """
        super().__init__(inputs, outputs)
        with kept_signal_stack():
            core = openvino.Core()
            model = _read(core, path, content)
            check_declared(str(path), "inputs", inputs, _tensors(model.inputs))
            check_declared(str(path), "outputs", outputs, _tensors(model.outputs))
            self._request: Any = _compile(core, model, path, threads, cache_dir)

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if self._request is None:
            raise ValueError("the runner is closed")
        results = self._request.infer(dict(arrays), share_inputs=True, share_outputs=True)
        return {name: results[name] for name in self.outputs}

    def close(self) -> None:
        self._request = None


def _read(core: Any, path: Path, content: bytes | None) -> Any:
    """Read from memory: given a path, OpenVINO would try the readers of every other format too."""
    try:
        return core.read_model(path.read_bytes() if content is None else content)
    except OSError as error:
        raise BundleError(f"{path}: cannot read the model: {error.strerror}: install the bundle again") from error
    except Exception as error:  # OpenVINO documents no exception types, and raises several
        raise BundleError(
            f"{path}: not a graph that OpenVINO reads: {_line(error)}: pack the bundle again"
        ) from error


def _compile(core: Any, model: Any, path: Path, threads: int, cache_dir: Path | None) -> Any:
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        # Without it OpenVINO takes bf16 where the CPU has it, and FP32 would not be what was measured.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    if cache_dir and _is_writable(cache_dir):
        settings["CACHE_DIR"] = str(cache_dir)
    try:
        return core.compile_model(model, "CPU", settings).create_infer_request()
    except Exception as error:
        raise BundleError(f"{path}: OpenVINO cannot compile it: {_line(error)}: pack the bundle again") from error


def _is_writable(cache_dir: Path) -> bool:
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        if os.access(cache_dir, os.W_OK):
            return True
        reason = "not writable"
    except OSError as error:
        reason = str(error.strerror)
    log.warning("%s: %s: compiled networks are not kept, the next start is slower", cache_dir, reason)
    return False


_DTYPES = {"f32": "float32", "i64": "int64"}


def _tensors(ports: Sequence[Any]) -> dict[str, str]:
    """The graph's own tensors, name -> "dtype[shape]"; ? stands for a size that is not fixed."""
    return {port.get_any_name(): f"{_dtype(port)}{_shape(port)}" for port in ports}


def _dtype(port: Any) -> str:
    name = str(port.get_element_type().get_type_name())
    return _DTYPES.get(name, name)


def _shape(port: Any) -> str:
    sizes = (str(size.get_length()) if size.is_static else "?" for size in port.get_partial_shape())
    return f"[{', '.join(sizes)}]"


def _line(error: Exception) -> str:
    """The last line that OpenVINO has to say; the others are its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
