"""The wall clock of one process, set while it runs: as a time server, a dead battery or a person does."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


class WallClock:
    """`env` gives a process a wall clock that is `offset_s` off (0 at first)."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._file.write_bytes(struct.pack("<d", 0.0))
        library = folder / "clock.so"
        compiler = ["cc", "-O2", "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(SOURCE), "-lm"]
        subprocess.run(compiler, check=True)
        self.env = {"LD_PRELOAD": str(library), "FAULTS_CLOCK": str(self._file)}

    @property
    def offset_s(self) -> float:
        return float(struct.unpack("<d", self._file.read_bytes())[0])

    @offset_s.setter
    def offset_s(self, value: float) -> None:
        with self._file.open("r+b") as file:  # the mapped page itself, not a new file
            file.write(struct.pack("<d", value))
