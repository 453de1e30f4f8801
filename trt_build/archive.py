"""A bundle as one file, for `tapetum-edge bundle install`."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from edge.atomic import replacing
from edge.bundles.bundle import MANIFEST, read_manifest
from edge.bundles.contents import SUFFIXES
from edge.bundles.signature import SIGNATURE
from edge.errors import ConfigError


def write_archive(folder: Path, archive: Path) -> None:
    """Write a tar.gz of what the manifest names, manifest and signature first. The same bundle gives the same bytes.

    Raises:
        ConfigError: the suffix is not that of a tar.gz.
        BundleError: the manifest cannot be read.
        OSError: a file cannot be read, or the archive not written; an older one is as it was.
    """
    if not archive.name.endswith(SUFFIXES):
        raise ConfigError(f"{archive}: a bundle's archive ends in {' or '.join(SUFFIXES)}")
    entries = read_manifest(folder).models.values()
    graphs = {graph.file for entry in entries for graph in entry.precisions.values()}
    names = [MANIFEST, *([SIGNATURE] if (folder / SIGNATURE).exists() else []), *sorted(graphs)]
    # mtime=0 and no name: nothing of this machine goes into it.
    with (
        replacing(archive) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in names:
            content = (folder / name).read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
