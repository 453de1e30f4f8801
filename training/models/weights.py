"""Weights files that come from elsewhere: read as tensors and nothing else."""

from __future__ import annotations

import warnings
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import load_file
from torch import Tensor

from edge.errors import InputError


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The named tensors of a .safetensors, .pth, .pt or .bin file. Nothing is unpickled but tensors and containers.

    Raises:
        InputError: missing, damaged, or something else than a state_dict.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an unusual pickle protocol
            state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # whose text is advice to load the file without checks
        raise InputError(f"{path}: not a file of weights: not a state_dict") from error
    except Exception as error:  # there is no end to the ways in which a damaged file can fail
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a file of weights: {first_line}") from error
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: not a state_dict: a mapping from names to tensors is needed")
    return state
