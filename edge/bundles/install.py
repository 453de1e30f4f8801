"""From what somebody gives to a bundle of the store: checked first, then unpacked, then put in its place.

Nothing is written before the manifest's signature is right; then only the files that the manifest names, each with
the size and the sha256 that it says.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.bundles.bundle import LARGEST_MANIFEST, MANIFEST, check_graph, parse_manifest
from edge.bundles.contents import Contents, Entry
from edge.bundles.manifest import GraphFile, Manifest
from edge.bundles.signature import LARGEST as LARGEST_SIGNATURE
from edge.bundles.signature import SIGNATURE, PublicKey, parse_signature
from edge.bundles.state import State
from edge.bundles.store import BundleStore
from edge.errors import BundleError, TapetumError, one_line

SPARE_BYTES = 16 << 20  # that stay free on the disk, for the spool and the state

Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, slots=True)
class Head:
    """What tells all of a bundle: `signature` is None where there is none, and then nobody asked for one."""

    manifest: Manifest
    content: bytes
    signature: bytes | None

    @property
    def bundle(self) -> str:
        """Its name in the store."""
        version = re.sub(r"[^A-Za-z0-9_.-]", "_", self.manifest.version)[:64]
        return f"{self.manifest.name}-{version}-{hashlib.sha256(self.content).hexdigest()[:12]}"

    @property
    def graphs(self) -> dict[str, GraphFile]:
        """All files that the manifest names."""
        entries = self.manifest.models.values()
        return {graph.file: graph for entry in entries for graph in entry.precisions.values()}


def install(
    contents: Contents,
    store: BundleStore,
    key: PublicKey | None,
    *,
    allow_older: bool = False,
    on_progress: Progress = lambda done, total: None,
) -> Head:
    """Put a bundle into the store, as the candidate that the service tries next.

    Args:
        key: must have signed it; None asks for no signature.
        allow_older: also a bundle that is older than one that was installed before.

    Returns:
        What was installed.

    Raises:
        BundleError: it is not whole, altered, not signed by the key, or older.
        TapetumError: the disk is full or not writable, or another installation runs. The store is as it was.
    """
    head = read_head(contents, key)
    state = store.change(lambda state: state)
    if not allow_older and state.is_older(head.manifest):
        raise BundleError(_older(contents, head, state))
    with store.installing() as incoming:
        if not _is_whole(store.path(head.bundle), head):
            _unpack(contents, head, incoming, on_progress)
            store.take(incoming, head.bundle)
        store.change(lambda state: state.installed(head.bundle, head.manifest))
    return head


def read_head(contents: Contents, key: PublicKey | None) -> Head:
    """Read manifest and signature, and check them; the key before the manifest is parsed.

    Raises:
        BundleError: there is no manifest, it is not signed by the key, or not valid.
    """
    found: dict[str, bytes] = {}
    limits = {MANIFEST: LARGEST_MANIFEST, SIGNATURE: LARGEST_SIGNATURE}
    for entry in contents.entries():
        if entry.name in limits:
            found[entry.name] = _small(entry, limits[entry.name], contents.name)
        if len(found) == len(limits):
            break
    if MANIFEST not in found:
        raise BundleError(f"{contents.name}: not a model bundle: it has no {MANIFEST}")
    if key is not None:
        _check_signature(contents.name, found, key)
    manifest = parse_manifest(found[MANIFEST], Path(contents.name) / MANIFEST)
    return Head(manifest, found[MANIFEST], found.get(SIGNATURE))


def _check_signature(name: str, found: dict[str, bytes], key: PublicKey) -> None:
    if SIGNATURE not in found:
        raise BundleError(f"{name}: the bundle is not signed, and public_key asks for a signature: sign it")
    key.check(parse_signature(found[SIGNATURE], f"{name}/{SIGNATURE}"), found[MANIFEST], name)


def _small(entry: Entry, largest: int, name: str) -> bytes:
    if entry.size > largest:
        raise BundleError(f"{name}/{entry.name}: damaged: over {largest} bytes: pack the bundle again")
    return b"".join(entry.chunks)


def _older(contents: Contents, head: Head, state: State) -> str:
    known = state.newest
    newest = known.get(head.manifest.name) or max(known.values(), key=lambda release: release.created_at)
    version, packed = one_line(head.manifest.version, 40), head.manifest.created_at.date()
    than = f"than {one_line(newest.version, 40)} of {newest.created_at.date()}, which was installed here"
    return (
        f"{contents.name}: version {version} of {packed} is older {than}: install a newer one, or insist with "
        "--allow-older"
    )


def _is_whole(folder: Path, head: Head) -> bool:
    """Whether the very same bundle is in its place already."""
    try:
        if (folder / MANIFEST).read_bytes() != head.content:
            return False
        if head.signature is not None and (folder / SIGNATURE).read_bytes() != head.signature:
            return False
        for graph in head.graphs.values():
            check_graph(folder, graph)
    except (OSError, BundleError):
        return False
    return True


def _unpack(contents: Contents, head: Head, folder: Path, on_progress: Progress) -> None:
    graphs = head.graphs
    total = sum(graph.bytes for graph in graphs.values())
    _check_space(folder, total)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done, total)

    for entry in contents.entries():
        if entry.name in graphs:
            _write_graph(contents.name, entry, graphs.pop(entry.name), folder, advance)
    if graphs:
        raise BundleError(f"{contents.name}: it lacks {min(graphs)}, which its manifest names: pack it again")
    _write(folder / MANIFEST, [head.content])
    if head.signature is not None:
        _write(folder / SIGNATURE, [head.signature])


def _check_space(folder: Path, total: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < total + SPARE_BYTES:
        need, spare = total / (1 << 20), SPARE_BYTES >> 20
        raise TapetumError(
            f"{folder.parent}: the bundle needs {need:.1f} MiB, and {spare} more must stay free, but only "
            f"{free / (1 << 20):.1f} MiB are: make room"
        )


def _write_graph(name: str, entry: Entry, graph: GraphFile, folder: Path, advance: Callable[[int], None]) -> None:
    altered = f"{name}: {graph.file} is not the file that its manifest names: altered: get the bundle again"
    if entry.size != graph.bytes:
        raise BundleError(altered)
    digest = hashlib.sha256()

    def checked() -> Iterator[bytes]:
        for chunk in entry.chunks:
            digest.update(chunk)
            yield chunk
            advance(len(chunk))

    _write(folder / graph.file, checked())
    if digest.hexdigest() != graph.sha256:
        raise BundleError(altered)


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a new file, and leave when it is on the disk."""
    with path.open("xb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())
