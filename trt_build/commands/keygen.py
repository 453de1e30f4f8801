"""`tapetum-build keygen`: a pair of keys for signing bundles."""

from __future__ import annotations

import argparse
from pathlib import Path


def keygen_command(options: argparse.Namespace) -> None:
    """Make the keys and say what each is for."""
    from edge.bundles.signature import fingerprint, read_public_key
    from trt_build.signing import make_keys

    private, public = make_keys(options.out)
    print(f"wrote {private}: signs bundles; keep it secret, off the units, and in a backup")
    print(f"wrote {public}: for the units ([bundle] public_key); {fingerprint(read_public_key(public).key)}")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `keygen`."""
    parser = commands.add_parser("keygen", help="make a pair of keys for signing bundles")
    parser.add_argument("--out", type=Path, required=True, help="prefix of both files, or a folder")
    parser.set_defaults(run=keygen_command)
