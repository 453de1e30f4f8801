"""Who the service runs as, and what he may do: the doctor is often run by somebody else."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from edge.tools.doctor.check import Finding, ok, warning

SERVICE_USER = "tapetum"


@dataclass(frozen=True, slots=True)
class Account:
    """A user with all of his groups."""

    name: str
    user_id: int
    group_ids: frozenset[int]

    def may(self, path: Path, mode: int) -> bool:
        """Whether the permissions of a file or folder let him (os.R_OK, W_OK, X_OK); access lists are not asked.

        Raises:
            OSError: it is not there.
        """
        found = path.stat()
        if self.user_id == 0:
            return True
        if found.st_uid == self.user_id:
            granted = found.st_mode >> 6
        elif found.st_gid in self.group_ids:
            granted = found.st_mode >> 3
        else:
            granted = found.st_mode
        return granted & mode == mode


def service_account() -> Account:
    """The service's user, where root asks and there is one; else whoever asks."""
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return current_account()
    if os.geteuid() != 0:
        return current_account()
    return Account(entry.pw_name, entry.pw_uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def current_account() -> Account:
    """Who this process runs as."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = f"user {os.geteuid()}"
    return Account(name, os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))


def group_name(group_id: int) -> str:
    try:
        return grp.getgrgid(group_id).gr_name
    except KeyError:
        return str(group_id)


def user(account: Account, devices: list[Path]) -> Finding:
    """Whether he is in the groups that the camera and the board's devices belong to."""
    lacking = sorted(
        {group_name(device.stat().st_gid) for device in devices if device.exists() and not _may_use(account, device)}
    )
    if lacking:
        groups = ",".join(lacking)
        return warning(
            f"{account.name} is not in {groups}, whose devices are there", f"usermod -aG {groups} {account.name}"
        )
    if account.user_id == 0:
        return warning(f"no user {SERVICE_USER}: checked as root, who may do all", "install the package, or its user")
    return ok(f"{account.name}, in {', '.join(sorted(map(group_name, account.group_ids)))}")


def _may_use(account: Account, device: Path) -> bool:
    is_device = stat.S_ISCHR(device.stat().st_mode)
    return account.may(device, os.R_OK | os.W_OK) or not is_device
