"""A small disk for the unit's state that can be filled to the last byte."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

SIZE_MIB = 96  # the compiled networks of the demo bundle take some 30


def why_not(folder: Path) -> str:
    """Why no disk can be mounted here; empty where one can."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    tried = subprocess.run(mount, capture_output=True, text=True)
    if tried.returncode == 0:
        subprocess.run(["umount", str(folder)], check=True)
        return ""
    return "mounting a tmpfs is not allowed here: " + " ".join(tried.stderr.split())


class Disk:
    """A tmpfs on `folder` between `with` and its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def __enter__(self) -> Disk:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = f"size={SIZE_MIB}m,mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(1 << 16)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC, error

    def free(self) -> None:
        self._ballast.unlink()
