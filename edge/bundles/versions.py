"""Which of two releases of a bundle is the older one."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import AwareDatetime, BaseModel, ConfigDict

from edge.bundles.manifest import Manifest


class Release(BaseModel):
    """What a signed manifest says of its age."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: str
    created_at: AwareDatetime


def release_of(manifest: Manifest) -> Release:
    """The manifest's release."""
    return Release(version=manifest.version, created_at=manifest.created_at)


def is_older(release: Release, name: str, newest: Mapping[str, Release]) -> bool:
    """Whether a release is older than the newest of its name; of a name that is new, than any that is known.

    Versions are compared first, and the time of packing where they are equal. A name that was never seen has no
    version to compare with: the time of packing alone counts, so that an old bundle does not come in by another name.
    """
    if name in newest:
        known = newest[name]
        return (version_key(release.version), release.created_at) < (version_key(known.version), known.created_at)
    return any(release.created_at < known.created_at for known in newest.values())


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """The order of versions: numbers by their value (1.10 comes after 1.9), all else as text, and before numbers.

    What follows a hyphen or a tilde comes before nothing at all: 2.0-rc1 is older than 2.0.
    """
    parts = re.findall(r"\d+|[^\d.+_~-]+|[-~]", version, re.ASCII)
    return (*map(_part, parts), _END)


_END = (1, 0, "")


def _part(text: str) -> tuple[int, int, str]:
    if text[0] in "-~":
        return (0, 0, "")
    return (3, int(text[:300]), "") if text.isdecimal() and text.isascii() else (2, 0, text)
