"""The judge of engines: ONNX Runtime on the CPU, with the arithmetic that the graph states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnxruntime

from edge.errors import BundleError, InputError
from edge.inference.base import Array, Runner, Specs
from trt_build.graphs import session


class ReferenceRunner(Runner):
    """A graph as it is written: what Q/DQ pairs surround is computed in float, see `trt_build.graphs.session`."""

    def __init__(self, path: Path, inputs: Specs, outputs: Specs, *, threads: int = 0) -> None:
        """Load a graph.

        Args:
            path: the ONNX file.
            inputs, outputs: what the manifest declares.
            threads: CPU threads; 0 leaves it to ONNX Runtime.

        Raises:
            BundleError: it is not a graph that ONNX Runtime can run.
        """
        super().__init__(inputs, outputs)
        try:
            self._session: onnxruntime.InferenceSession | None = session(path, threads=threads)
        except InputError as error:
            raise BundleError(f"{error}: install the bundle again") from error

    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if self._session is None:
            raise ValueError("the runner is closed")
        names = list(self.outputs)
        return dict(zip(names, self._session.run(names, dict(arrays)), strict=True))

    def close(self) -> None:
        self._session = None
