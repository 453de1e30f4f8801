"""A spool for those who only need one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.sections import SpoolConfig
from edge.telemetry.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    folder = tmp_path / "state"
    folder.mkdir()
    with Spool(folder, SpoolConfig()) as running:
        yield running
