"""The events in memory: their order, their bound, and what a broken line or a slow disk does to them."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.telemetry import backlog as backlog_module
from edge.telemetry.backlog import READ_AHEAD, Backlog, Entry
from edge.telemetry.spool_file import Row

KINDS = st.sampled_from(["appear", "update", "leave"])


def without_disk(limit: int = 100, kinds: list[str] | None = None) -> Backlog:
    backlog = Backlog(limit)
    backlog.trouble = "no disk"
    for number, kind in enumerate(kinds or []):
        backlog.put(kind, b"%d" % number)
    return backlog


def with_disk() -> Backlog:
    backlog = Backlog(1000)
    backlog.opened(rows=0, last=0)
    return backlog


def store(backlog: Backlog) -> list[Row]:
    """What the file takes in, all at once."""
    added, delivered = backlog.unsaved_and_delivered(1000)
    rows = [entry.row(number) for number, entry in added.items()]
    backlog.stored(added, delivered, len(backlog) + len(delivered), 0)
    return rows


def drain(backlog: Backlog) -> list[int]:
    return [int(entry.payload) for entry in iter(backlog.take, None)]


def take(backlog: Backlog, count: int) -> list[Entry]:
    taken = [backlog.take() for _ in range(count)]
    return [entry for entry in taken if entry is not None]


def survivors(kinds: list[str], limit: int) -> list[int]:
    """The policy, slowly: one after the other goes, the oldest update or else the oldest."""
    left: list[int] = []
    for number in range(len(kinds)):
        left.append(number)
        if len(left) > limit:
            left.remove(next((n for n in left if kinds[n] == "update"), left[0]))
    return left


@given(st.lists(KINDS, max_size=60), st.integers(1, 20))
def test_the_oldest_updates_go_first_and_appear_and_leave_last(kinds: list[str], limit: int) -> None:
    backlog = without_disk(limit, kinds)
    assert backlog.dropped == max(0, len(kinds) - limit)
    assert drain(backlog) == survivors(kinds, limit)


def test_nothing_is_taken_before_it_is_on_disk() -> None:
    backlog = with_disk()
    backlog.put("appear", b"0")
    assert backlog.take() is None
    rows = store(backlog)
    assert backlog.take() is None
    backlog.loaded(0, rows, earlier=0)
    assert drain(backlog) == [0]


def test_what_is_not_acknowledged_comes_again_first() -> None:
    backlog = without_disk(kinds=["update"] * 6)
    first, second, _ = take(backlog, 3)
    backlog.acknowledge(second)
    assert len(backlog) == 5
    backlog.rewind()
    assert drain(backlog) == [0, 2, 3, 4, 5]
    assert first.number is None


def test_what_was_delivered_while_it_was_written_is_forgotten_by_the_file() -> None:
    backlog = without_disk(kinds=["update"] * 3)
    added, delivered = backlog.unsaved_and_delivered(100)
    (entry,) = take(backlog, 1)
    backlog.acknowledge(entry)
    backlog.stored(added, delivered, 3, 0)
    assert len(backlog) == 2
    assert backlog.unsaved_and_delivered(100) == ({}, [1])


def test_what_was_given_up_while_it_was_written_is_forgotten_by_the_file() -> None:
    backlog = without_disk(limit=3, kinds=["update"] * 3)
    added, delivered = backlog.unsaved_and_delivered(100)
    backlog.put("appear", b"3")
    backlog.stored(added, delivered, 3, 0)
    assert backlog.unsaved_and_delivered(100)[1] == [1]
    assert (len(backlog), backlog.dropped) == (3, 1)


def test_what_is_on_the_line_when_the_disk_comes_back_is_saved_first_and_not_sent_twice() -> None:
    backlog = without_disk(kinds=["update"] * 4)
    taken = take(backlog, 2)
    rows = store(backlog)
    backlog.trouble = ""
    assert [(row.number, row.payload) for row in rows] == [(1, b"0"), (2, b"1"), (3, b"2"), (4, b"3")]
    assert backlog.unsaved == 0
    assert backlog.take() is None
    backlog.loaded(0, rows, earlier=0)
    assert drain(backlog) == [2, 3]
    for entry in taken:
        backlog.acknowledge(entry)
    assert backlog.unsaved_and_delivered(100) == ({}, [1, 2])


def test_what_was_read_for_a_line_that_broke_is_not_kept() -> None:
    backlog = with_disk()
    backlog.put("update", b"0")
    rows = store(backlog)
    backlog.take()
    after = backlog.unread_after()
    backlog.rewind()
    assert after == 0
    backlog.loaded(after, rows, earlier=0)
    assert backlog.read_to == 0
    assert backlog.unread_after() is None, "nobody takes"


def test_it_reads_on_in_good_time() -> None:
    backlog = with_disk()
    for number in range(3 * READ_AHEAD):
        backlog.put("update", b"%d" % number)
    rows = store(backlog)
    assert backlog.take() is None
    seen: list[int] = []
    for _ in range(len(rows)):
        if (after := backlog.unread_after()) is not None:
            backlog.loaded(after, rows[after : after + READ_AHEAD], earlier=0)
        seen += [int(entry.payload) for entry in take(backlog, 1)]
    assert seen == list(range(3 * READ_AHEAD))


def test_what_cannot_be_read_does_not_hold_up_what_waits_in_memory() -> None:
    backlog = Backlog(10)
    backlog.opened(rows=5, last=5)
    backlog.put("appear", b"7")
    backlog.trouble = "disk I/O error"
    assert backlog.take() is None, "older ones are on disk"
    backlog.closed()
    assert drain(backlog) == [7]


def test_late_is_what_waited_or_was_put_by_an_earlier_run(monkeypatch: pytest.MonkeyPatch) -> None:
    backlog = with_disk()
    backlog.put("update", b"0")
    store(backlog)
    now_ns = 10**15
    monkeypatch.setattr(backlog_module.time, "monotonic_ns", lambda: now_ns)
    backlog.put("update", b"1")
    (row,) = store(backlog)
    # A boot ago the monotonic clock may have been ahead of now.
    backlog.take()
    backlog.loaded(0, [Row(1, "update", b"0", 2 * now_ns, None), row], earlier=1)
    old, new = take(backlog, 2)
    assert (old.is_late, new.is_late) == (True, False)
    now_ns += 5_000_000_001
    assert new.is_late


def test_many_threads_put_while_one_takes() -> None:
    backlog = without_disk(limit=100_000)

    def write(base: int) -> None:
        for n in range(base, base + 2000):
            backlog.put("update", b"%d" % n)

    writers = [threading.Thread(target=write, args=(base,)) for base in (0, 10_000, 20_000)]
    for writer in writers:
        writer.start()
    taken: list[int] = []
    while any(writer.is_alive() for writer in writers):
        taken += drain(backlog)
    taken += drain(backlog)
    assert len(taken) == 6000
    for base in (0, 10_000, 20_000):  # each writer's own order holds
        assert [n for n in taken if base <= n < base + 10_000] == list(range(base, base + 2000))
