"""What every inference backend offers. Each implementation passes tests/contract/test_runner.py."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.bundles.manifest import TensorSpec
from edge.closing import Closing
from edge.errors import BundleError

Array = npt.NDArray[Any]
Specs = Mapping[str, TensorSpec]


class Runner(Closing):
    """One network, ready to run: named arrays in, named arrays out.

    Not thread-safe: a runner belongs to one thread at a time. It holds memory (and, on a GPU, a stream) until
    `close`; use it in a `with` statement.
    """

    def __init__(self, inputs: Specs, outputs: Specs) -> None:
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)

    def run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run the network once.

        Args:
            arrays: one array per input, of exactly the declared dtype and shape; any strides.

        Returns:
            One array per output. The next `run` may overwrite them: copy what you keep.

        Raises:
            ValueError: a name, dtype or shape differs from `inputs`, or the runner is closed.
        """
        self._check(arrays)
        return self._run(arrays)

    @abstractmethod
    def _run(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run on arrays that were checked."""

    def _check(self, arrays: Mapping[str, Array]) -> None:
        if arrays.keys() != self.inputs.keys():
            raise ValueError(f"inputs must be {sorted(self.inputs)}, not {sorted(arrays)}")
        for name, spec in self.inputs.items():
            array = arrays[name]
            if array.dtype != np.dtype(spec.dtype) or array.shape != spec.shape:
                raise ValueError(f"input {name} must be {spec}, not {array.dtype}{list(array.shape)}")


def check_declared(
    where: str, kind: str, declared: Specs, actual: Mapping[str, str], cure: str = "pack the bundle again"
) -> None:
    """Compare a graph's or engine's own tensors, name -> "dtype[shape]", with the manifest's.

    Raises:
        BundleError: names, dtypes or shapes differ; `where` (the file) and `kind` (inputs or outputs) are named.
    """
    wanted = {name: str(spec) for name, spec in declared.items()}
    if wanted != actual:
        raise BundleError(
            f"{where}: its {kind} are {_listed(actual)}, but the manifest declares {_listed(wanted)}: {cure}"
        )


def _listed(tensors: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {tensor}" for name, tensor in sorted(tensors.items())) or "none"
