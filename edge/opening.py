"""What the service finds on the disk when it starts."""

from __future__ import annotations

import os
from pathlib import Path

from edge.bundles.bundle import Bundle, load_bundle
from edge.bundles.state import SHIPPED
from edge.bundles.store import BundleStore
from edge.config import Config, credential
from edge.errors import TapetumError


def open_bundle(config: Config) -> Bundle:
    """The configured bundle, or else the active one of the store; at first that is the one that came with Tapetum.

    Raises:
        BundleError: it is missing, altered, not signed as asked for, or lacks the precision.
        ConfigError: the public key cannot be read.
    """
    if config.bundle.path:
        return _load(config, Path(config.bundle.path), config.bundle.public_key)
    store = BundleStore(Path(config.service.state_dir))
    return open_stored(config, store, store.state().active)


def open_stored(config: Config, store: BundleStore, bundle: str) -> Bundle:
    """A bundle of the store. The one that came with Tapetum is a part of it, and asks for no signature.

    Raises:
        BundleError, ConfigError: as `open_bundle`.
    """
    return _load(config, store.path(bundle), "" if bundle == SHIPPED else config.bundle.public_key)


def _load(config: Config, folder: Path, public_key: str) -> Bundle:
    wanted = config.bundle
    return load_bundle(
        folder,
        wanted.precision,
        public_key=credential(public_key) if public_key else None,
        allow_refused=wanted.allow_refused,
    )


def networks_dir(config: Config) -> Path:
    """Where compiled networks are kept for the next start."""
    return Path(config.service.state_dir) / "networks"


def writable_folder(folder: Path) -> Path:
    """The folder, made where it is missing.

    Raises:
        TapetumError: it cannot be made or written to.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TapetumError(
            f"{folder}: the state folder is not writable ({error.strerror}): "
            "set service.state_dir to a folder of the service's user"
        ) from error
    return folder
