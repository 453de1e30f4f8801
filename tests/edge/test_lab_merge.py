"""Which merge kernel the service takes. What each must do is in tests/contract/test_merge_kernel.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.kernels import lab_merge
from edge.kernels.lab_merge import cpu_kernel, lab_merge_bgr
from edge.kernels.native import NativeMerge, installed_library
from edge.kernels.portable import PortableMerge
from tests.kernels.build import native_library


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the installation would have put the library: nothing is there yet."""
    path = tmp_path / "_lab_merge.so"
    monkeypatch.setattr(lab_merge, "installed_library", lambda: path if path.exists() else None)
    cpu_kernel.cache_clear()
    yield path
    cpu_kernel.cache_clear()


def test_the_library_where_it_was_built(library: Path) -> None:
    library.write_bytes(native_library().read_bytes())
    assert isinstance(cpu_kernel(), NativeMerge)


def test_numpy_where_no_compiler_was_at_hand(library: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(cpu_kernel(), PortableMerge)
    assert caplog.messages == []


def test_numpy_where_the_library_does_not_load(library: Path, caplog: pytest.LogCaptureFixture) -> None:
    library.write_bytes(b"\x7fELF of another machine")
    assert isinstance(cpu_kernel(), PortableMerge)
    assert str(library) in caplog.text


def test_numpy_where_the_library_is_of_another_version(library: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = ["c++", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(library)]
    subprocess.run(command, input=b'extern "C" int tapetum_params_bytes(int) { return 8; }', check=True, timeout=60)
    assert isinstance(cpu_kernel(), PortableMerge)
    assert caplog.messages == [f"{library} is of another version: install the package again; numpy merges instead"]


def test_an_installed_library_is_that_of_these_sources() -> None:
    path = installed_library()
    if path is not None:
        NativeMerge(path)


def test_a_forked_process_merges_too() -> None:
    """It has none of the library's threads. In a process of its own: pytest's has threads that fork would warn of."""
    script = f"""
import os, numpy as np
from pathlib import Path
from edge.kernels.native import NativeMerge
kernel = NativeMerge(Path({str(native_library())!r}), threads=4)
frame = np.zeros((480, 640), np.uint8), np.full((2, 8, 8), 20, np.float32)
expected = kernel.nv12(*frame)
if (child := os.fork()) == 0:
    os._exit(0 if (kernel.nv12(*frame) == expected).all() else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


def test_the_service_s_way_is_the_paper_s() -> None:
    luma, ab = np.full((4, 6), 90, np.uint8), np.full((2, 3, 3), 20, np.float32)
    np.testing.assert_array_equal(lab_merge_bgr(luma, ab), cpu_kernel().bgr(luma, ab))
