"""Commands that root runs write as the service's user: what is in the store belongs to who uses it.

It also keeps root out of a folder in which somebody else may have laid links.
"""

from __future__ import annotations

import os
from pathlib import Path

from edge.errors import TapetumError


def act_as_owner(folder: Path) -> None:
    """From now on, and for good, this process is the owner of `folder`, where it was root; the folder may be missing.

    Raises:
        TapetumError: the folder cannot be reached.
    """
    if os.geteuid() != 0:
        return
    try:
        status = folder.stat()
    except FileNotFoundError:
        return  # whoever makes it owns it; systemd gives it to the service
    except OSError as error:
        raise TapetumError(f"{folder}: cannot reach the state folder: {error.strerror}") from error
    if status.st_uid != 0:
        os.setgroups([])
        os.setresgid(status.st_gid, status.st_gid, status.st_gid)
        os.setresuid(status.st_uid, status.st_uid, status.st_uid)
