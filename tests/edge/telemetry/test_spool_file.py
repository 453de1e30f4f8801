"""The file: its bounds, its policy, and what is left of it when its bytes are changed."""

from __future__ import annotations

import random
import resource
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.telemetry import spool_file
from edge.telemetry.spool_file import LOG_PAGES, ROW_BYTES, DamagedError, DiskError, Row, SpoolFile, renew

MANY = 1 << 40
EVENTS = st.tuples(st.sampled_from(["appear", "update", "leave"]), st.integers(0, 300))


def row(number: int, kind: str = "update", size: int = 600, put_s: int | None = None) -> Row:
    payload = (b"%d " % number * size)[: max(size, 1)]
    return Row(number, kind, payload, number * 10, put_s)


def rows(count: int, first: int = 1) -> list[Row]:
    kinds = ("appear", *["update"] * 8, "leave")
    return [row(number, kinds[number % 10]) for number in range(first, first + count)]


def numbers(file: SpoolFile) -> list[int]:
    return [found.number for found in file.read(0, 1 << 30)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def file(path: Path) -> Iterator[SpoolFile]:
    opened = SpoolFile(path)
    yield opened
    opened.close()


def filled(path: Path, count: int) -> list[Row]:
    """A file with so many events, closed."""
    file, added = SpoolFile(path), rows(count)
    file.store(added, [], MANY)
    file.close()
    return added


def test_what_was_stored_is_there_after_a_restart(path: Path) -> None:
    added = filled(path, 50)
    file = SpoolFile(path)
    assert (file.rows, file.last) == (50, 50)
    file.store(rows(1, first=51), [1, 2, 3, 999], MANY)
    file.close()
    file = SpoolFile(path)
    assert file.read(10, 5) == added[10:15]
    assert numbers(file) == list(range(4, 52))
    file.close()


def survivors(events: list[tuple[str, int]], max_bytes: int, keep_to: int) -> list[int]:
    """The policy, slowly: until all fit, the oldest update goes, or else the oldest."""
    left = dict(enumerate(events, 1))
    while sum(max(size, 1) + ROW_BYTES for _, size in left.values()) > max_bytes:
        free = [n for n in left if n > keep_to]
        if not free:
            break
        del left[next((n for n in free if left[n][0] == "update"), free[0])]
    return list(left)


@settings(deadline=None, max_examples=200)
@given(st.lists(EVENTS, max_size=40), st.integers(0, 8000), st.integers(0, 10))
def test_the_oldest_updates_go_first_and_appear_and_leave_last(
    events: list[tuple[str, int]], max_bytes: int, keep_to: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = SpoolFile(Path(folder) / "spool.db")
        added = [row(n, kind, size) for n, (kind, size) in enumerate(events, 1)]
        dropped = file.store(added, [], max_bytes, keep_to)
        expected = survivors(events, max_bytes, keep_to)
        assert (numbers(file), file.rows, dropped) == (expected, len(expected), len(events) - len(expected))
        file.close()


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.lists(EVENTS, max_size=8), st.sets(st.integers(1, 40))), max_size=8), st.integers(500, 9000)
)
def test_its_count_stays_right_and_its_bound_holds_over_many_commits(
    commits: list[tuple[list[tuple[str, int]], set[int]]], max_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = SpoolFile(Path(folder) / "spool.db")
        number = 0
        for events, delivered in commits:
            added = [row(number + n, kind, size) for n, (kind, size) in enumerate(events, 1)]
            number += len(events)
            file.store(added, sorted(delivered), max_bytes)
            left = file.read(0, 1000)
            assert file.rows == len(left)
            assert sum(len(found.payload) + ROW_BYTES for found in left) <= max_bytes
        file.close()


def test_the_bound_is_one_of_the_disk(path: Path, file: SpoolFile) -> None:
    limit = 1 << 20
    for first in range(1, 20_000, 20):
        file.store(rows(20, first), [], limit)
    log = path.with_name("spool.db-wal")
    assert path.stat().st_size < 1.25 * limit
    assert log.stat().st_size < 4 * LOG_PAGES * 4096
    kinds = {found.kind for found in file.read(0, 1 << 30)}
    assert kinds == {"appear", "leave"}, "they alone are more than fits"


def test_age_counts_where_the_clock_was_right(file: SpoolFile) -> None:
    ages = [100, None, 200, 300, None, 100]
    file.store([row(n, "appear", put_s=put_s) for n, put_s in enumerate(ages, 1)], [], MANY)
    assert file.expire(250, keep_to=1) == 2
    assert numbers(file) == [1, 2, 4, 5]
    assert file.rows == 4


def test_two_services_do_not_share_a_file(path: Path, file: SpoolFile) -> None:
    with pytest.raises(DiskError, match="locked"):
        SpoolFile(path)
    file.store(rows(3), [], MANY)
    assert numbers(file) == [1, 2, 3]


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(50_000))


def no_database(path: Path) -> None:
    path.write_text("not a database " * 1000)


def another_version(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()


def another_table(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE event (number INTEGER); PRAGMA user_version = 1")
    connection.close()


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 * 10 : 4096 * 14] = bytes(4096 * 4)
    path.write_bytes(data)


def crossed_pages(path: Path) -> None:
    """The last branch of the table's tree leads to the first one's leaf: its rows come a second time."""
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'event'").fetchone()
    connection.close()
    data = bytearray(path.read_bytes())
    root = 4096 * (page - 1)
    cell = root + int.from_bytes(data[root + 12 : root + 14], "big")
    data[root + 8 : root + 12] = data[cell : cell + 4]
    path.write_bytes(data)


@pytest.mark.parametrize(
    "spoil", [garbage, no_database, another_version, another_table, half, zeroed_pages, crossed_pages]
)
def test_a_file_that_cannot_be_trusted_is_told(path: Path, spoil: Callable[[Path], None]) -> None:
    filled(path, 500)
    spoil(path)
    with pytest.raises(DamagedError):
        SpoolFile(path)


@pytest.mark.parametrize(
    ("spoil", "fewest"),
    [(garbage, 0), (no_database, 0), (another_version, 500), (half, 1), (zeroed_pages, 300), (crossed_pages, 480)],
)
def test_what_can_be_read_of_a_damaged_file_is_saved(path: Path, spoil: Callable[[Path], None], fewest: int) -> None:
    added = filled(path, 500)
    spoil(path)
    damaged = path.read_bytes()
    file, aside = renew(path, [], MANY)
    saved = file.read(0, 1000)
    assert len(saved) >= fewest
    assert saved == [found for found in added if found in saved], "in their order, and none that was not stored"
    assert file.rows == len(saved)
    file.store(rows(5, first=501), [], MANY)
    file.close()
    assert len(aside.read_bytes()) == len(damaged)
    assert sorted(found.name for found in path.parent.iterdir()) == ["spool.db", "spool.db.damaged"]


def test_a_damaged_file_stays_until_the_new_one_is_whole(path: Path, tmp_path: Path) -> None:
    """The disk is full meanwhile, say: the next try starts from the same."""
    added = filled(path, 3000)
    zeroed_pages(path)
    damaged = path.read_bytes()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, most))
    try:
        with pytest.raises(DiskError):
            renew(path, [], MANY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert path.read_bytes() == damaged
    file, _ = renew(path, [], MANY)
    assert file.rows > 2900
    assert set(file.read(0, 5000)) <= set(added)
    file.close()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["spool.db", "spool.db.damaged"]


class PowerCutError(BaseException):
    """Nothing after it happens."""


@pytest.mark.parametrize("is_new_to_the_disk", [True, False])
@pytest.mark.parametrize("steps", range(10))
def test_a_crash_at_any_step_of_the_renewal_costs_no_event(
    steps: int, is_new_to_the_disk: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power fails behind so many renames and removals. Half of the events are in the log of the damaged file."""
    added = rows(40)
    filled(path, 20)
    file = SpoolFile(path)
    file.store(added[20:], [], MANY)
    log = path.with_name("spool.db-wal")
    kept = path.read_bytes(), log.read_bytes()
    file.close()
    path.write_bytes(kept[0])
    log.write_bytes(kept[1])
    if not is_new_to_the_disk:  # one was set aside before
        for name in ("spool.db.damaged", "spool.db.damaged-wal"):
            path.with_name(name).write_bytes(b"older")
    left = steps

    def counted(real: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: object, **keywords: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise PowerCutError
            real(*arguments, **keywords)

        return step

    with monkeypatch.context() as until_the_cut:
        # Salvage leaves the log as it is, as where the file cannot be read at all.
        until_the_cut.setattr(spool_file, "salvage", lambda path: iter(added))
        until_the_cut.setattr(Path, "rename", counted(Path.rename))
        until_the_cut.setattr(Path, "unlink", counted(Path.unlink))
        with suppress(PowerCutError):
            renew(path, [], MANY)[0].close()
    file = SpoolFile(path)
    assert file.read(0, 1000) == added
    file.close()
    found = {each.name for each in path.parent.iterdir()}
    assert "spool.db.ready" not in found and found >= {"spool.db"}
    renew(path, [], MANY)[0].close()
    assert "spool.db.new" not in {each.name for each in path.parent.iterdir()}


def test_what_is_in_memory_need_not_be_read(path: Path) -> None:
    added = filled(path, 20)
    garbage(path)
    file, _ = renew(path, added[5:8], MANY)
    assert file.read(0, 100) == added[5:8]
    file.close()
    zeroed, _ = renew(path, added[5:8], MANY)
    assert zeroed.read(0, 100) == added[5:8], "held and saved is once"
    zeroed.close()


@pytest.mark.parametrize("places", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("length", [1, 17, 300, 3000])
def test_random_bytes_in_the_file_make_no_event_that_was_not_stored(places: int, length: int, tmp_path: Path) -> None:
    """Whatever bytes change: the file opens or is renewed, goes on, and reads as what was stored, or as nothing."""
    for seed in range(10):
        path = tmp_path / f"{seed}.db"
        chance, added = random.Random(seed), filled(path, 60)
        data = bytearray(path.read_bytes())
        for _ in range(places):
            start = chance.randrange(len(data) - length)
            data[start : start + length] = chance.randbytes(length)
        path.write_bytes(data)
        file = opened_or_renewed(path)
        saved = file.read(0, 1000)
        assert saved == [found for found in added if found in saved], seed
        file.store(rows(1, first=1001), [], MANY)
        assert numbers(file)[-1] == 1001, seed
        file.close()


def opened_or_renewed(path: Path) -> SpoolFile:
    """As the spool does it: a file that cannot be opened or read is renewed."""
    try:
        file = SpoolFile(path)
    except DamagedError:
        return renew(path, [], MANY)[0]
    try:
        file.read(0, 1000)
    except DamagedError:
        file.close()
        return renew(path, [], MANY)[0]
    return file


def test_a_changed_payload_is_no_event(path: Path) -> None:
    """SQLite does not notice: the page is well-formed."""
    filled(path, 20)
    path.write_bytes(path.read_bytes().replace(b"7 7 7 7", b"7 7 8 7", 1))
    file = SpoolFile(path)
    with pytest.raises(DamagedError, match="event 7 is not what was written"):
        file.read(0, 100)
    file.close()
    file, _ = renew(path, [], MANY)
    assert numbers(file) == [n for n in range(1, 21) if n != 7]
    file.close()
