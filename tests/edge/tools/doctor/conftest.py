"""A unit to examine: a configuration, and a root of a file system made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.config import Config, parse_config


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    """`config(mqtt={...})` is a configuration with this state folder and a test picture."""

    def make(**sections: dict[str, object]) -> Config:
        service = {"state_dir": str(tmp_path / "state"), **sections.pop("service", {})}
        document = {"source": {"kind": "test"}, **sections, "service": service}
        return parse_config(document, origin="test")

    return make


@pytest.fixture
def jetson(tmp_path: Path) -> Callable[[str], Path]:
    """`jetson("36", "4.3")` is the root of one with this release."""

    def make(release: str, revision: str) -> Path:
        root = tmp_path / "root"
        (root / "etc").mkdir(parents=True)
        (root / "etc/nv_tegra_release").write_text(
            f"# R{release} (release), REVISION: {revision}, GCID: 1, BOARD: g\n"
        )
        (root / "proc/device-tree").mkdir(parents=True)
        model = "NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0"
        (root / "proc/device-tree/model").write_text(model)
        return root

    return make
