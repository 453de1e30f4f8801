"""For all tests: the real TensorRT, where engines are built or refused, and certificates."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pki import make_pki
from tests.tensorrt_runtime import DOWNLOAD_S, is_made, tensorrt_folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that asks for TensorRT may have to wait for its download."""
    if not is_made():
        for item in items:
            if {"tensorrt", "tensorrt_env"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.timeout(2 * DOWNLOAD_S))


@pytest.fixture(scope="session")
def tensorrt() -> Any:
    """The real TensorRT 11 module, importable from now on in this process beside OpenVINO, GStreamer and PyTorch.

    Builder and parser work without a GPU. A test of a machine without TensorRT takes it away from this process
    (`monkeypatch.setitem(sys.modules, "tensorrt", None)`) or starts one of its own.
    """
    sys.path.append(str(tensorrt_folder()))
    return importlib.import_module("tensorrt")


@pytest.fixture(scope="session")
def tensorrt_env() -> dict[str, str]:
    """The environment of a process that finds the real TensorRT 11."""
    path = os.pathsep.join(filter(None, (str(tensorrt_folder()), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path}


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with authorities and certificates: see tests/pki.py."""
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """`tapetum-edge run` sets its own, also where a test calls it within this process."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
