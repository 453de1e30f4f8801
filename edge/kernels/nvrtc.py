"""CUDA source to machine code without a GPU: NVRTC, from its Python package or from a CUDA toolkit."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator, Sequence
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

from edge.errors import TapetumError

_FLAGS = ("--std=c++17",)
_TOOLKIT = Path("/usr/local/cuda/lib64")


class CompileError(TapetumError):
    """NVRTC is missing or refuses the source; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """Machine code of one architecture, or PTX; `log` is what the compiler reported."""

    code: bytes
    log: str


class Nvrtc:
    """The compiler library."""

    def __init__(self) -> None:
        """Load it.

        Raises:
            CompileError: there is none.
        """
        self._library = _load()

    @property
    def version(self) -> tuple[int, int]:
        """Its CUDA version."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        return major.value, minor.value

    def compile(self, source: Path, architecture: str, flags: Sequence[str] = ()) -> Compiled:
        """Compile a file.

        Args:
            source: CUDA C++ that includes nothing.
            architecture: "sm_87" for machine code, "compute_87" for PTX.
            flags: more options; `--ptxas-options=-v` puts registers and spills of each kernel into the log.

        Raises:
            CompileError: the source does not compile.
        """
        program = ctypes.c_void_p()
        text = source.read_bytes()
        self._check(
            self._library.nvrtcCreateProgram(ctypes.byref(program), text, source.name.encode(), 0, None, None)
        )
        try:
            options = [f"--gpu-architecture={architecture}", *_FLAGS, *flags]
            array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            result = self._library.nvrtcCompileProgram(program, len(options), array)
            log = self._read(program, "ProgramLog").rstrip(b"\0\n").decode()
            if result:
                raise CompileError(f"{source} does not compile for {architecture}: {log}")
            return Compiled(self._read(program, "CUBIN" if architecture.startswith("sm_") else "PTX"), log)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, f"nvrtcGet{what}")(program, buffer))
        return buffer.raw

    def _check(self, result: int) -> None:
        if result:
            self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise CompileError(f"NVRTC: {self._library.nvrtcGetErrorString(result).decode()}")


def _load() -> ctypes.CDLL:
    for path in _candidates():
        try:
            # NVRTC opens it by its bare name: so it is found outside the loader's path.
            for builtins in Path(path).parent.glob("libnvrtc-builtins.so.*") if "/" in path else ():
                ctypes.CDLL(os.fspath(builtins))
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise CompileError("NVRTC is missing: install a CUDA toolkit, or the Python package nvidia-cuda-nvrtc")


def _candidates() -> Iterator[str]:
    """The package's library, the toolkit's, the loader's."""
    package = importlib.util.find_spec("nvidia")
    for folder in (package.submodule_search_locations or ()) if package else ():
        yield from map(os.fspath, sorted(Path(folder).glob("*/lib/libnvrtc.so.*"), reverse=True))
    yield from map(os.fspath, sorted(_TOOLKIT.glob("libnvrtc.so*"), reverse=True))
    if name := find_library("nvrtc"):
        yield name
