"""The parts that the services of these tests are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clip import make_clip
from tests.edge.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real networks that find what is bright; a test that spoils it makes its own."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "night.mp4")
