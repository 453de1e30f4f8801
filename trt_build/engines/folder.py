"""The folder of engines: one builder at a time, nothing half-written, nothing superseded left behind."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from edge.atomic import remove_leftovers, write_atomic
from edge.bundles.manifest import ModelName, Precision
from edge.engines.store import KEY_DIGITS, EngineError, Sidecar, Target, engines_of, read_sidecar, sidecar_path
from edge.errors import TapetumError

log = logging.getLogger(__name__)

LOCK = ".lock"
STAGE = ".new"
REFUSED = ".refused"
KEPT_GRAPHS = 3
_DIGEST_BYTES = 32


@contextmanager
def locked(folder: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Be the only builder in `folder`, which is made where it is missing.

    The kernel gives the lock back however its holder ends, so none is ever stale. What a builder that was killed left
    unfinished is removed.

    Args:
        waiting: is told, in words, when another builder must end first.

    Raises:
        TapetumError: the folder cannot be written to.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a+")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            waiting(
                f"another build (process {lock.read().strip() or 'unknown'}) works in {folder}: waiting for its end"
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        with writing(folder):
            lock.truncate(0)
            print(os.getpid(), file=lock, flush=True)
            _remove_stage(folder / STAGE)
            remove_leftovers(folder)
        yield


@contextmanager
def staged(folder: Path, name: str, content: bytes, sidecar: Sidecar) -> Iterator[Path]:
    """Lend a new engine, whole and with its sidecar, out of the way of those in use.

    When the block ends well it takes its place in `folder`; when not, the folder is as it was.

    Raises:
        TapetumError: it cannot be written.
    """
    stage = folder / STAGE
    engine = stage / name
    try:
        with writing(folder):
            stage.mkdir(exist_ok=True)
            write_atomic(engine, content)
            write_atomic(sidecar_path(engine), sidecar.model_dump_json(by_alias=True, indent=1).encode() + b"\n")
        yield engine
        with writing(folder):
            engine.replace(folder / name)  # between these two lines it lacks its sidecar, and is refused
            sidecar_path(engine).replace(sidecar_path(folder / name))
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _remove_stage(stage: Path) -> None:
    if stage.is_dir() and not stage.is_symlink():
        shutil.rmtree(stage)
    else:
        stage.unlink(missing_ok=True)


def remove_superseded(engine: Path) -> list[Path]:
    """Remove what `engine` replaces: the others of its network and precision. A dry run replaces dry runs alone.

    Those of other graphs stay while they fit this machine, the newest `KEPT_GRAPHS`: they are of bundles that the
    unit may go back to, perhaps of the one that it runs.

    Returns:
        The engines that were removed.
    """
    kept = read_sidecar(engine)
    for refusal in engine.parent.glob(f"{kept.model}.{kept.precision}.*{REFUSED}"):
        refusal.unlink()
    others = {p: _sidecar(p) for p in engines_of(engine.parent, kept.model, kept.precision) if p != engine}
    stay = [path for path, sidecar in others.items() if sidecar and kept.dry_run and not sidecar.dry_run]
    stay += _of_other_graphs(others, kept)[:KEPT_GRAPHS]
    removed = [path for path in others if path not in stay]
    for path in removed:
        sidecar_path(path).unlink(missing_ok=True)
        path.unlink()
    return removed


def _of_other_graphs(engines: Mapping[Path, Sidecar | None], kept: Sidecar) -> list[Path]:
    """Those that fit the machine of `kept`, the newest first."""
    found = {
        path: sidecar.created_at
        for path, sidecar in engines.items()
        if sidecar and sidecar.onnx_sha256 != kept.onnx_sha256 and sidecar.target == kept.target
    }
    return sorted(found, key=lambda path: found[path], reverse=True)


def _sidecar(engine: Path) -> Sidecar | None:
    try:
        return read_sidecar(engine)
    except EngineError:
        return None


def refusal_path(folder: Path, model: ModelName, precision: Precision, key: str) -> Path:
    """Where it is remembered that what was built under a key (see `edge.engines.store.engine_key`) was refused."""
    return folder / f"{model}.{precision}.{key[:KEY_DIGITS]}{REFUSED}"


def write_refusal(path: Path, reason: str) -> None:
    """Remember why an engine was refused.

    Raises:
        TapetumError: it cannot be written.
    """
    with writing(path.parent):
        write_atomic(path, reason.encode())


def read_refusal(path: Path) -> str:
    """Why such an engine was refused before; empty where it was not."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def timing_path(folder: Path, target: Target) -> Path:
    """Where what was measured with one TensorRT on one GPU is kept between builds."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{target.tensorrt}-{target.gpu}-{target.compute_capability}")
    return folder / f"timing.{name}.cache"


def read_timing(path: Path) -> bytes:
    """TensorRT's timing cache; empty where there is none yet. A damaged one is set aside and begun anew."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return b""
    digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    if digest == sha256(content).digest():
        return content
    aside = path.with_suffix(".damaged")
    path.replace(aside)
    log.warning("%s: the timing cache is damaged: kept as %s, and begun anew", path, aside.name)
    return b""


def write_timing(path: Path, content: bytes) -> None:
    """Keep a timing cache, behind its sha256.

    Raises:
        TapetumError: it cannot be written.
    """
    with writing(path.parent):
        write_atomic(path, sha256(content).digest() + content)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a TapetumError with the cure."""
    try:
        yield
    except OSError as error:
        raise TapetumError(
            f"{folder}: cannot keep engines here: {error.strerror}: give a folder that can be written to, "
            "with enough free space (--engines DIR)"
        ) from error
