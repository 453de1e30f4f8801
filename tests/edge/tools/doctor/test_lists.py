"""Which checks there are, and when."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from edge.config import Config
from edge.tools import doctor
from tests.e2e.service import write_config


def test_the_quick_ones_leave_camera_gpu_and_broker_alone(
    config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("not within the service")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    found = {check.name: check.state for check in doctor.quick_checks(config())}
    assert list(found) == ["clock", "GStreamer", "state folder", "disk", "secrets", "certificates", "bundle"]
    assert "failed" not in found.values()


def test_one_that_breaks_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path / "edge.toml", {"source": {"kind": "test"}, "mqtt": {"enabled": False}})

    def break_(*_: Any) -> NoReturn:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(doctor.machine, "board", break_)
    monkeypatch.setattr(doctor.storage, "disk", break_)
    checks = {check.name: check for check in doctor.all_checks(config)}
    assert len(checks) == 17
    assert checks["board"].detail == "the check itself broke: RuntimeError: a bug of ours"
    assert checks["disk"].state == "failed" and checks["bundle"].state == "ok"


def test_names_of_secrets_mean_what_they_mean_to_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "")  # so that it is taken back afterwards
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    folder = tmp_path / "root/etc/tapetum/secrets"
    folder.mkdir(parents=True)
    (folder / "rtsp-password").write_text("owl\n")
    (folder / "rtsp-password").chmod(0o600)
    login = {"username": "viewer", "password_file": "rtsp-password"}
    config = write_config(tmp_path / "edge.toml", {"rtsp": login, "mqtt": {"enabled": False}})
    checks = {check.name: check for check in doctor.all_checks(config, tmp_path / "root")}
    assert checks["secrets"].detail == "1, and only their owner may read them"
