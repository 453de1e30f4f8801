"""Colourist and Detector on the CPU, where tests/contract/test_colourist.py and test_detector.py do not reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.bundles.bundle import load_bundle
from edge.sections import ColourConfig
from edge.vision.cpu import CpuColourist, CpuDetector
from edge.vision.networks import Networks
from tests.edge.tiny_bundle import make_tiny_bundle

GREY = np.full((48, 64), 128, np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


def test_a_context_comes_first(folder: Path) -> None:
    """A backend is opened with a frame of its own, and the lane's first frame is always due."""
    networks = Networks(load_bundle(folder), ["context", "colorizer"], threads=1)
    with CpuColourist(networks, ColourConfig()) as colourist, pytest.raises(ValueError, match="renew_context"):
        colourist.nv12(GREY)


def test_its_networks_are_freed(folder: Path) -> None:
    networks = Networks(load_bundle(folder), threads=1)
    colourist, detector = CpuColourist(networks, ColourConfig()), CpuDetector(networks)
    colourist.renew_context(GREY)
    colourist.close()
    with pytest.raises(ValueError, match="closed"):
        colourist.nv12(GREY)
    detector.close()
