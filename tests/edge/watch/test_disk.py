"""The disk of the state folder, on a file system of known size."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge.watch.disk import DiskSpace


@pytest.mark.parametrize(("free_mb", "verdict"), [(99, True), (100, True), (110, None), (120, False), (5000, False)])
def test_two_limits(free_mb: int, verdict: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimpleNamespace(f_bavail=free_mb * 256, f_bfree=10**9, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    finding = DiskSpace(tmp_path, 100).look()
    assert finding.is_wrong is verdict
    assert f"{free_mb} MB free for {tmp_path}" in finding.detail


def test_the_real_disk(tmp_path: Path) -> None:
    assert DiskSpace(tmp_path, 0).look().is_wrong is False
    assert DiskSpace(tmp_path, 10**9).look().is_wrong is True


def test_a_folder_that_is_gone_tells_nothing(tmp_path: Path) -> None:
    assert DiskSpace(tmp_path / "nowhere", 100).look().is_wrong is None
