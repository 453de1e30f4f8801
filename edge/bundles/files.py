"""Reading files that somebody else may have put where a bundle is looked for."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_plain(path: Path, *, follow_links: bool = True) -> BinaryIO:
    """Open a plain file to read. A FIFO or a device, which would keep its reader waiting, is refused.

    Raises:
        OSError: it cannot be opened, is no file, or is a link and `follow_links` is off.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file", str(path))
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path, largest: int) -> bytes:
    """The content of a plain file of at most `largest` bytes.

    Raises:
        OSError: it cannot be read, is no file, or is larger.
    """
    with open_plain(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"over {largest} bytes", str(path))
    return content
