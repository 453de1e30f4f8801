"""A small bundle, its signer, and an empty store."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.bundles.store import BundleStore
from tests.edge.bundle_makers import release
from tests.edge.tiny_bundle import make_tiny_bundle
from trt_build.signing import make_keys


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1.5; nobody changes it."""
    folder = make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")
    return release(folder, folder, "1.5")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Private, public."""
    return make_keys(tmp_path_factory.mktemp("keys") / "site")


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "state")
