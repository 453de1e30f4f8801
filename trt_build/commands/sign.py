"""`tapetum-build sign`: sign a bundle, or check its signature as a unit does."""

from __future__ import annotations

import argparse
from pathlib import Path


def sign_command(options: argparse.Namespace) -> None:
    """Sign or check; either way every graph of the bundle is compared with the manifest."""
    from edge.bundles.bundle import read_manifest
    from edge.bundles.signature import SIGNATURE, fingerprint
    from trt_build.signing import check_graphs, read_private_key, sign

    if options.check:
        manifest = read_manifest(options.bundle, public_key=options.check)
        check_graphs(options.bundle, manifest)
        print(f"{options.bundle}: {manifest.name} version {manifest.version}: signature ok")
        return
    key = read_private_key(options.key)
    manifest = sign(options.bundle, key)
    print(
        f"wrote {options.bundle / SIGNATURE}: {manifest.name} version {manifest.version}, "
        f"key {fingerprint(key.public_key())}"
    )


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `sign`."""
    parser = commands.add_parser("sign", help="sign a bundle, or check its signature")
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--key", type=Path, help="private key, to sign with")
    what.add_argument("--check", type=Path, metavar="PUBLIC", help="public key, to check by; nothing is written")
    parser.set_defaults(run=sign_command)
