"""`tapetum-build pack`: exported graphs, or a bundle that is to be trimmed, to a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.bundles.manifest import PRECISIONS


def pack_command(options: argparse.Namespace) -> None:
    """Pack, and sign where a key is given."""
    from trt_build.archive import write_archive
    from trt_build.pack import pack
    from trt_build.signing import read_private_key

    manifest, unsigned = pack(
        options.source,
        options.out,
        name=options.name,
        version=options.bundle_version,
        ship=options.ship,
        chosen=options.chosen,
        base=options.base,
        key=read_private_key(options.sign) if options.sign else None,
    )
    for model, entry in manifest.models.items():
        print(f"{model}: {', '.join(entry.precisions)}; auto is {entry.chosen}")
    print(f"wrote {options.out}: {manifest.name} version {manifest.version}, {'' if options.sign else 'not '}signed")
    if options.archive:
        write_archive(options.out, options.archive)
        print(f"wrote {options.archive}: for tapetum-edge bundle install")
    if unsigned:
        print("the signature that was there no longer fits and is removed: sign again with tapetum-build sign")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `pack`."""
    parser = commands.add_parser("pack", help="write a bundle")
    parser.add_argument("source", type=Path, help="folder of exported graphs, or a bundle to trim or rename")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--name", help="of the bundle; a bundle has one already")
    parser.add_argument("--bundle-version", help="text; a bundle has one already, graphs begin with 1")
    parser.add_argument("--base", type=Path, help="bundle that the networks which were not exported come from")
    parser.add_argument("--ship", nargs="+", choices=PRECISIONS, help="precisions; all, if not given")
    parser.add_argument(
        "--chosen",
        choices=["auto", *PRECISIONS],
        help='what precision "auto" means on the unit; auto: the cheapest that is not refused',
    )
    parser.add_argument("--sign", type=Path, metavar="KEY", help="private key of tapetum-build keygen")
    parser.add_argument("--archive", type=Path, metavar="FILE.tar.gz", help="write the bundle as one file, too")
    parser.set_defaults(run=pack_command)
