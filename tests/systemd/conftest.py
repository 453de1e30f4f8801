"""The package, and a unit that it is installed on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.container import Container, clean_system, why_not

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def containers() -> None:
    """Skips, visibly, where none can be booted."""
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this checkout, as `make deb` builds it."""
    folder = tmp_path_factory.mktemp("deb")
    subprocess.run([ROOT / "systemd" / "deb" / "build", folder], check=True, timeout=600)
    (deb,) = folder.iterdir()
    return deb


@pytest.fixture(scope="module")
def container(containers: None, deb: Path) -> Iterator[Container]:
    """A clean system, booted, with the package in /root and what it depends on at hand; nothing is installed."""
    with clean_system(deb) as tree, Container(tree) as booted:
        yield booted
