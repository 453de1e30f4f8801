"""A bundle on disk: written whole or not at all, and never with a signature that does not fit."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.atomic import remove_leftovers, replacing_all
from edge.bundles.bundle import MANIFEST, encode_manifest
from edge.bundles.manifest import Manifest
from edge.bundles.signature import SIGNATURE
from edge.errors import TapetumError
from trt_build.signing import encode_signature

STOPS = (signal.SIGINT, signal.SIGTERM)


def check_writable(folder: Path) -> None:
    """Tell before hours of work what would be told after them.

    Raises:
        TapetumError: nothing can be written into the folder.
    """
    if not os.access(folder, os.W_OK | os.X_OK):
        raise TapetumError(f"{folder}: no permission to write: change its owner or mode, or work on a copy")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM waiting until the end of a block of a few file operations. For the main thread."""
    came: list[int] = []
    handlers = {each: signal.signal(each, lambda number, _: came.append(number)) for each in STOPS}
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def write_bundle(folder: Path, manifest: Manifest, graphs: Mapping[str, Path], key: Ed25519PrivateKey | None) -> bool:
    """Write graphs (name in the bundle: file to copy), the manifest and, with a key, its signature.

    Everything is written beside its place first, and put there once all of it is on the disk, the manifest last: a
    disk that fills up, or Ctrl-C, leaves an older bundle as it was. What a run that was killed left is removed.

    Returns:
        Whether an older signature was removed, because it does not fit the new manifest and there is no key.

    Raises:
        TapetumError: it cannot be written.
    """
    content = encode_manifest(manifest)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        stale = key is None and (folder / SIGNATURE).exists()
        names = [*graphs, *([] if key is None else [SIGNATURE]), MANIFEST]
        with ExitStack() as writing:
            new = dict(
                zip(names, writing.enter_context(replacing_all([folder / name for name in names])), strict=True)
            )
            new[MANIFEST].write_bytes(content)
            if key is not None:
                new[SIGNATURE].write_bytes(encode_signature(content, key))
            for name, source in graphs.items():
                shutil.copyfile(source, new[name])
            with uninterrupted():
                writing.pop_all().close()
                if stale:
                    (folder / SIGNATURE).unlink()
    except OSError as error:
        raise TapetumError(
            f"{folder}: cannot write the bundle: {error.strerror or error}: what was there is as it was: make room, "
            "or change its owner"
        ) from error
    return stale
