"""`tapetum-edge check`: tells what is well and the first thing that is not, and starts nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from edge.__main__ import main
from edge.errors import BundleError, ConfigError, InputError
from edge.tools.check import check
from tests.clip import make_clip
from tests.e2e.service import ROOT, write_config
from tests.edge import spoilt_bundle
from tests.edge.tiny_bundle import make_tiny_bundle

RUNTIME = "runtime openvino fp32 ok"
CPU = {"service": {"runtime": "cpu"}}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "night.mp4", seconds=0.2)


@pytest.fixture
def sections(bundle: Path, clip: Path) -> dict[str, dict[str, Any]]:
    return {"source": {"kind": "file", "path": str(clip)}, "bundle": {"path": str(bundle)}, **CPU}


def told(tmp_path: Path, sections: dict[str, dict[str, Any]]) -> list[str]:
    return list(check(write_config(tmp_path / "edge.toml", sections)))


def test_all_is_well_and_nothing_is_started(tmp_path: Path, sections: dict[str, dict[str, Any]]) -> None:
    (tmp_path / "secret").write_text("hunter2")
    login = {"username": "unit", "password_file": str(tmp_path / "secret")}
    threads = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as running:  # the service itself, as a rule
        port = running.getsockname()[1]
        lines = told(tmp_path, {**sections, "rtsp": {"port": port, **login}, "mqtt": {"port": port, **login}})
    assert lines == [
        f"{tmp_path / 'edge.toml'}: configuration ok, unit tapetum-1",
        "source file ok",
        f"rtsp ok, 127.0.0.1 port {port}",
        f"mqtt ok, broker 127.0.0.1 port {port}",
        "bundle tiny version 1.0 ok, 2 labels",
        RUNTIME,
    ]
    assert threading.active_count() == threads


def test_what_is_switched_off_is_not_looked_at(tmp_path: Path, sections: dict[str, dict[str, Any]]) -> None:
    off = {"enabled": False, "username": "unit", "password_file": "/nowhere"}
    assert len(told(tmp_path, {**sections, "rtsp": off, "mqtt": off})) == 4


def test_a_camera_may_come_later(tmp_path: Path, sections: dict[str, dict[str, Any]]) -> None:
    lines = told(tmp_path, {**sections, "source": {"kind": "v4l2", "device": "/dev/video-none"}})
    assert "source /dev/video-none is not there yet; the service waits for it" in lines


@pytest.mark.parametrize("section", ["source", "rtsp", "mqtt"])
def test_secrets_are_read(tmp_path: Path, sections: dict[str, dict[str, Any]], section: str) -> None:
    sections["source"] = {"kind": "rtsp", "url": "rtsp://camera/"}
    sections.setdefault(section, {}).update(username="u", password_file="/nowhere/secret")
    with pytest.raises(ConfigError, match="/nowhere/secret: cannot read the secret: No such file"):
        told(tmp_path, sections)


def test_certificates_are_read(tmp_path: Path, sections: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match=r"mqtt\.ca_file: /nowhere/ca\.pem"):
        told(tmp_path, {**sections, "mqtt": {"tls": True, "ca_file": "/nowhere/ca.pem"}})


def test_a_clip_must_be_a_file(tmp_path: Path, sections: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="not a file"):
        told(tmp_path, {**sections, "source": {"kind": "file", "path": str(tmp_path)}})


def test_the_networks_are_loaded(tmp_path: Path, sections: dict[str, dict[str, Any]], bundle: Path) -> None:
    """A graph that is rightly signed, and no graph at all."""
    folder = spoilt_bundle.with_graph(bundle, tmp_path / "spoilt", "colorizer", b"not a graph")
    with pytest.raises(BundleError, match=r"colorizer_fp32\.onnx: not a graph"):
        told(tmp_path, {**sections, "bundle": {"path": str(folder)}})


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path / "edge.toml", {"source": {"kind": "file", "path": "/nowhere.mp4"}})
    assert main(["check", "--config", str(path)]) == InputError.exit_code
    said = capsys.readouterr()
    assert said.out == f"{path}: configuration ok, unit tapetum-1\n"
    assert said.err == "tapetum-edge: /nowhere.mp4: no such clip\n"


def test_a_reader_that_goes_away(tmp_path: Path, sections: dict[str, dict[str, Any]]) -> None:
    """`tapetum-edge check ... | true`: the answer is in the exit code."""
    path = write_config(tmp_path / "edge.toml", sections)
    line = f'"$0" -m edge check --config "{path}"; echo $? >&2'

    result = subprocess.run(
        ["sh", "-c", f"({line}) | true", sys.executable], cwd=ROOT, capture_output=True, text=True
    )
    assert result.stderr == "0\n"
