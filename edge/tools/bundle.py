"""`tapetum-edge bundle`: what is installed on this unit, and what it runs. The service may run meanwhile, or not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from edge.bundles.bundle import read_manifest
from edge.bundles.contents import Archive, open_contents
from edge.bundles.download import download, is_url
from edge.bundles.install import install
from edge.bundles.owner import act_as_owner
from edge.bundles.signature import PublicKey, read_public_key
from edge.bundles.state import SHIPPED, State
from edge.bundles.store import BundleStore
from edge.config import Config, credential, load_config
from edge.errors import BundleError, ConfigError, one_line
from edge.opening import open_stored
from edge.tools.terminal import say

NEXT = "the service tries it on live frames, and takes it if it does well: tapetum-edge bundle list tells"


def install_command(options: argparse.Namespace) -> int:
    """From a file, a folder or a web server on the local net into the store."""
    config, store = _store(options.config)
    key = _key(config, options.source, options.allow_unsigned)
    with ExitStack() as opening:
        contents = None if is_url(options.source) else opening.enter_context(open_contents(Path(options.source)))
        act_as_owner(Path(config.service.state_dir))  # after what root alone may read was opened
        if contents is None:
            contents = _fetched(options.source, opening.enter_context(store.scratch()))
        with _bar("unpack") as advance:
            head = install(contents, store, key, allow_older=options.allow_older, on_progress=advance)
    state = store.state()
    if state.active == head.bundle:
        say(f"{head.bundle} is active already")
    else:
        say(f"installed {head.bundle}, {'signature ok' if key else 'not signed'}; {NEXT}")
    return 0


def list_command(options: argparse.Namespace) -> int:
    """All bundles, and what happened to them lately."""
    config, store = _store(options.config)
    act_as_owner(Path(config.service.state_dir))
    state = store.state()
    say(f"{'BUNDLE':<52} {'STATE':<11} {'PACKED':<10} {'MIB':>6}")
    for bundle in [SHIPPED, *store.installed()]:
        say(_line(store, bundle, state))
    for past in state.history[-options.history :] if options.history else ():
        say(f"{past.at:%Y-%m-%d %H:%M:%S}Z  {past.bundle}: {past.what}{f': {past.detail}' if past.detail else ''}")
    return 0


def activate_command(options: argparse.Namespace) -> int:
    """Another bundle of the store."""
    config, store = _store(options.config)
    act_as_owner(Path(config.service.state_dir))
    bundle = store.find(options.name)
    if options.untried:
        open_stored(config, store, bundle)
    is_active = store.state().active == bundle
    store.activate(bundle, untried=options.untried)
    then = "the service takes it now, or at its next start" if options.untried else NEXT
    say(f"{bundle} is active already" if is_active else f"{bundle}: {then}")
    return 0


def rollback_command(options: argparse.Namespace) -> int:
    """The bundle before the active one."""
    config, store = _store(options.config)
    act_as_owner(Path(config.service.state_dir))
    state = store.rollback()
    say(f"back to {state.active}: the service takes it now, or at its next start")
    return 0


def _store(path: Path) -> tuple[Config, BundleStore]:
    config = load_config(path)
    if config.bundle.path:
        raise ConfigError(f"{path}: bundle.path names the bundle of this unit: empty it to use installed ones")
    return config, BundleStore(Path(config.service.state_dir))


def _key(config: Config, source: str, allow_unsigned: bool) -> PublicKey | None:
    """What must have signed the bundle; None where that is not asked for, on purpose."""
    if config.bundle.public_key:
        if allow_unsigned:
            raise ConfigError("--allow-unsigned: bundle.public_key is set, and the service loads nothing unsigned")
        return read_public_key(credential(config.bundle.public_key))
    if not allow_unsigned:
        raise ConfigError("bundle.public_key is not set: set it, or insist with --allow-unsigned")
    if is_url(source):
        raise ConfigError("--allow-unsigned is for files and folders: what comes over the net must be signed")
    return None


def _fetched(url: str, file: BinaryIO) -> Archive:
    with _bar("fetch") as advance:
        download(url, file, on_progress=advance)
    return Archive(file, url)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Progress in bytes; in a terminal only."""
    with tqdm(desc=what, unit="B", unit_scale=True, leave=False, file=sys.stderr, disable=None) as bar:

        def advance(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


def _line(store: BundleStore, bundle: str, state: State) -> str:
    try:
        manifest = read_manifest(store.path(bundle))
    except BundleError:
        return f"{bundle:<52} damaged"
    graphs = {g.file: g.bytes for entry in manifest.models.values() for g in entry.precisions.values()}
    mib = sum(graphs.values()) / (1 << 20)
    name = f"{SHIPPED} ({manifest.name} {one_line(manifest.version, 20)})" if bundle == SHIPPED else bundle
    return f"{name:<52} {_standing(bundle, state):<11} {manifest.created_at:%Y-%m-%d} {mib:>6.1f}"


def _standing(bundle: str, state: State) -> str:
    if bundle == state.active:
        return "probation" if state.probation else "active"
    if state.tries(bundle):
        return "candidate"
    if bundle == state.previous:
        return "previous"
    ends = [past.what for past in state.history if past.bundle == bundle and past.what in ("rejected", "rolled back")]
    return ends[-1] if ends else "-"
