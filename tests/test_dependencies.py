"""What a unit installs is locked, by sha256, and the lock is that of pyproject.toml: `make lock` renews it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edge.config import tomllib

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "systemd" / "requirements.lock"
UNITS = [  # Python of Ubuntu 22.04 and JetPack 6, of Debian 12, of Ubuntu 24.04 and JetPack 7, of Debian 13
    {**default_environment(), "sys_platform": "linux", "python_version": short, "python_full_version": f"{short}.7"}
    for short in ("3.10", "3.11", "3.12", "3.13")
]


def entries() -> Iterator[tuple[Requirement, list[str]]]:
    """Each requirement of the lock with its hashes."""
    text = LOCK.read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            requirement, *hashes = line.split("--hash=")
            yield Requirement(requirement.strip()), [each.split("#")[0].strip() for each in hashes]


def locked(unit: dict[str, str]) -> dict[str, str]:
    """Package -> version on a unit."""
    there = [entry for entry, _ in entries() if entry.marker is None or entry.marker.evaluate(unit)]
    assert len({entry.name for entry in there}) == len(there), "one version of each"
    return {canonicalize_name(entry.name): next(iter(entry.specifier)).version for entry in there}


def wanted(names: list[str], unit: dict[str, str]) -> list[Requirement]:
    requirements = map(Requirement, names)
    return [each for each in requirements if each.marker is None or each.marker.evaluate({**unit, "extra": ""})]


def project() -> list[str]:
    return list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])


def test_every_file_is_pinned_by_its_hash() -> None:
    for entry, hashes in entries():
        assert [each.operator for each in entry.specifier] == ["=="], entry
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), entry


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit["python_version"])
def test_the_lock_satisfies_the_project(unit: dict[str, str]) -> None:
    versions = locked(unit)
    for requirement in wanted(project(), unit):
        name = canonicalize_name(requirement.name)
        assert requirement.specifier.contains(versions[name]), f"{requirement}: run make lock"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit["python_version"])
def test_what_the_packages_need_is_locked_too(unit: dict[str, str]) -> None:
    versions = locked(unit)
    for package in versions:
        try:
            needs = requires(package) or []
        except PackageNotFoundError:  # for another Python than this one
            continue
        missing = [each.name for each in wanted(needs, unit) if canonicalize_name(each.name) not in versions]
        assert missing == [], package
