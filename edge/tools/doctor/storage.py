"""Folders that the service writes to, and secrets that it reads."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from edge.config import Config, credential, read_secret
from edge.tools.doctor.account import Account
from edge.tools.doctor.check import Finding, failed, ok, warning

_ALL = os.R_OK | os.W_OK | os.X_OK
_MIB = 1 << 20
LEAST_FREE_MIB = 512  # a bundle, its engines and the spool


def state_folder(config: Config, account: Account) -> Finding:
    """Whether the service may write there, and nobody else may read."""
    folder = Path(config.service.state_dir)
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        return failed(f"{nearest} is not a folder", "set service.state_dir to a folder of the service's user")
    if not account.may(nearest, _ALL):
        return failed(f"{account.name} may not write to {nearest}", f"chown -R {account.name} {folder}")
    if nearest != folder:
        return ok(f"{folder} is made at the first start")
    if folder.stat().st_mode & stat.S_IROTH:
        return warning(f"{folder} can be read by everybody", f"chmod 750 {folder}")
    return ok(f"{folder}, {account.name} may write")


def disk(config: Config) -> Finding:
    """Whether there is room for events, engines and updates."""
    folder = Path(config.service.state_dir).absolute()
    usage = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists()))
    free_mib, need_mib = usage.free // _MIB, LEAST_FREE_MIB + config.spool.max_mib
    told = f"{free_mib} MiB free of {usage.total // _MIB} MiB for {folder}"
    if free_mib < config.spool.max_mib:
        return failed(f"{told}: the spool of events does not fit", "make room, or lower spool.max_mib")
    if free_mib < need_mib:
        return warning(told, f"make room: {need_mib} MiB hold the spool, an update and its engines")
    return ok(told)


def cache(config: Config, account: Account, root: Path) -> Finding:
    """Whether compiled networks and GStreamer's list of plugins can be kept: without, each start takes longer."""
    folders = [Path(config.service.state_dir) / "networks", root / "var/cache/tapetum"]
    there = [folder for folder in folders if folder.exists()]
    for folder in there:
        if not account.may(folder, _ALL):
            return failed(f"{account.name} may not write to {folder}", f"chown -R {account.name} {folder}")
    return ok(", ".join(map(str, there)) if there else "made at the first start")


def secret_files(config: Config) -> Iterator[tuple[str, str]]:
    """Key and value of each entry that names a file with a secret in it."""
    for section, keys in config.model_dump().items():
        for key in ("password_file", "key_file"):
            if keys.get(key):
                yield f"{section}.{key}", keys[key]


def secrets(config: Config) -> Finding:
    """Whether each can be read, by the service and by nobody else."""
    named = list(secret_files(config))
    for key, file in named:
        path = credential(file)
        if not os.access(path, os.R_OK):
            return failed(f"{key}: {path} cannot be read", "make it, and run the doctor as root")
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return warning(f"{key}: {path} can be read by others", f"chmod 600 {path}")
        if key.endswith("password_file"):
            read_secret(file)
    return ok(f"{len(named)}, and only their owner may read them" if named else "none are configured")
