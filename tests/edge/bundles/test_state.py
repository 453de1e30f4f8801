"""Each step of the state, alone."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edge.bundles.bundle import read_manifest
from edge.bundles.manifest import Manifest
from edge.bundles.state import HISTORY, NAMES, SHIPPED, State
from edge.bundles.versions import Release, is_older, version_key

A, B, C = (f"site-{n}-{n * 12}" for n in "123")
DAY = datetime(2024, 5, 1, tzinfo=timezone.utc)


@pytest.fixture
def manifest(tiny: Path) -> Manifest:
    return read_manifest(tiny)


def release(version: str, day: int = 0) -> Release:
    return Release(version=version, created_at=DAY + timedelta(days=day))


def running(active: str = A, previous: str | None = SHIPPED) -> State:
    return State(active=active, previous=previous)


def test_the_way_of_a_good_bundle() -> None:
    tried = running().asked(B).try_begun(B)
    assert tried.candidate is not None and tried.candidate.begun == 1
    switched = tried.switched(B, "well", 600)
    assert (switched.active, switched.previous, switched.candidate) == (B, A, None)
    assert switched.probation is not None and (switched.probation.left_s, switched.probation.begun) == (600, 1)
    proven = switched.proven(B)
    assert (proven.active, proven.previous, proven.probation) == (B, A, None)
    assert [past.what for past in proven.history] == ["asked", "switched", "proven"]


def test_the_way_of_a_bad_one() -> None:
    rejected = running().asked(B).rejected(B, "blind")
    assert (rejected.active, rejected.candidate, rejected.history[-1].detail) == (A, None, "blind")
    back = running().asked(B).switched(B, "", 600).rolled_back(B, "slow")
    assert (back.active, back.previous, back.probation) == (A, SHIPPED, None)
    assert back.rolled_back(A, "").active == SHIPPED
    assert back.rolled_back(A, "").rolled_back(SHIPPED, "").previous is None


def test_what_was_meant_for_another_bundle_changes_nothing() -> None:
    """A command came in between."""
    state = running().asked(C)
    for step in (state.try_begun(B), state.try_ended(B), state.rejected(B, ""), state.switched(B, "", 1)):
        assert step is state
    assert state.proven(B) is state and state.rolled_back(B, "") is state
    assert state.run_begun() is state and state.run_ended(3) is state


def test_runs_are_counted() -> None:
    state = running().asked(B).switched(B, "", 600)
    assert state.run_begun().probation is not None
    crashed = state.run_begun().run_begun()
    assert crashed.probation is not None and crashed.probation.begun == 3
    ended = state.run_begun().run_ended(12.5)
    assert ended.probation is not None and (ended.probation.begun, ended.probation.left_s) == (1, 12.5)
    tried = running().asked(B).try_begun(B).try_ended(B).candidate
    assert tried is not None and tried.begun == 0


def test_what_waits_survives_a_rollback_by_itself_but_not_by_a_command() -> None:
    state = running().asked(C)
    assert state.rolled_back(A, "damaged").tries(C)
    assert not state.rolled_back(A, "asked for").withdrawn().tries(C)
    assert not running(B, A).asked(A).rolled_back(B, "").tries(A), "it is active"
    assert not state.forced(B).tries(C)


def test_it_stays_small() -> None:
    state = running()
    for number in range(2 * HISTORY):
        state = state.asked((B, C)[number % 2])
    assert len(state.history) == HISTORY
    assert state.used() == {A, SHIPPED, C}


def test_it_is_written_and_read() -> None:
    state = running().asked(B).switched(B, "well", 600).asked(C)
    assert State.model_validate_json(state.model_dump_json()) == state


@pytest.mark.parametrize("name", ["../etc", "/etc-000000000000", "site", "a/b-000000000000", "", "x" * 300])
def test_a_name_that_is_no_place_in_the_store(name: str) -> None:
    with pytest.raises(ValueError, match="active"):
        State.model_validate({"active": name})


def test_the_newest_of_each_name_is_kept_and_of_not_too_many(manifest: Manifest) -> None:
    state = State()
    for number in range(NAMES + 5):
        named = {"name": f"n{number}", "created_at": DAY + timedelta(days=number)}
        state = state.installed(A, manifest.model_copy(update=named))
    assert len(state.newest) == NAMES
    forgotten = manifest.model_copy(update={"name": "n0", "created_at": DAY})
    assert state.is_older(forgotten), "its time tells"


ORDERED = (
    "1.0-rc1",
    "1.0",
    "1.0.1",
    "1.1a",
    "1.2",
    "1.9",
    "1.10",
    "2",
    "2.0~beta",
    "2.0",
    "2.0+site",
    "2024.05",
    "9" * 30,
)


def test_versions_are_in_order() -> None:
    keys = [version_key(version) for version in ORDERED]
    assert keys == sorted(keys) and len(set(keys)) == len(keys)


@pytest.mark.parametrize("version", ["", "-", "\0", "٣", "²", "v" * 5000, "9" * 5000, "ß-1", "1..2"])
def test_any_text_is_a_version(version: str) -> None:
    assert version_key(version) <= version_key(version)
    assert version_key(version) < version_key("1" * 5000) or version == "9" * 5000


def test_what_is_older() -> None:
    known = {"site": release("1.2", 3), "other": release("7", 1)}
    assert is_older(release("1.1", 9), "site", known)
    assert not is_older(release("1.3", 0), "site", known), "versions first"
    assert is_older(release("1.2", 2), "site", known) and not is_older(release("1.2", 3), "site", known)
    assert is_older(release("9", 2), "new", known) and not is_older(release("0.1", 3), "new", known)
    assert not is_older(release("0"), "first", {})
