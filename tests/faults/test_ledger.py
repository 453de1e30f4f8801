"""The proof must fail where something is amiss."""

from __future__ import annotations

from tests.faults.ledger import Ledger, events_put

PUT = ["a-appear-1", "a-update-9", "f-on", "a-leave-20", "f-off"]


def test_all_that_was_put_came() -> None:
    balance = Ledger().balance(PUT, PUT)
    assert balance.is_even
    assert (balance.put, balance.repeated) == (5, 0)


def test_a_repeat_is_counted_and_allowed() -> None:
    balance = Ledger().balance(PUT, [*PUT[:2], *PUT])
    assert balance.is_even
    assert balance.repeated == 2


def test_a_lost_event_is_told() -> None:
    balance = Ledger().balance(PUT, [PUT[0], *PUT[2:]])
    assert not balance.is_even
    assert balance.lost == ["a-update-9"]


def test_an_event_that_nobody_put_is_told() -> None:
    assert Ledger().balance(PUT, [*PUT, "b-appear-3"]).unknown == ["b-appear-3"]


def test_the_order_is_held_for_what_one_thread_tells() -> None:
    assert Ledger().balance(PUT, ["f-on", *PUT[:2], "a-leave-20", "f-off"]).is_even
    assert Ledger().balance(PUT, ["a-update-9", "a-appear-1", *PUT[2:]]).disordered == ["a-appear-1"]


def test_what_appeared_must_leave_and_what_came_on_must_go_off() -> None:
    assert Ledger().balance(PUT[:3], PUT[:3]).endless == ["a", "f"]


def test_a_kill_excuses_the_newest_events_that_were_not_on_disk() -> None:
    ledger = Ledger()
    ledger.note_death(PUT[:3], on_disk={"a-appear-1"}, came=set())
    balance = ledger.balance([*PUT[:3], "b-appear-1", "b-leave-2"], ["a-appear-1", "b-appear-1", "b-leave-2"])
    assert balance.is_even
    assert balance.unsaved == ["a-update-9", "f-on"]


def test_a_kill_excuses_none_that_was_lost_before_and_none_that_was_on_disk() -> None:
    ledger = Ledger()
    ledger.note_death(PUT[:3], on_disk={"f-on"}, came={"a-appear-1"})
    assert ledger.balance(PUT[:3], ["a-appear-1"]).lost == ["a-update-9", "f-on"]


def test_events_are_read_from_the_log() -> None:
    log = (
        "2026-01-01 00:00:00,000 DEBUG edge.reporting: event a-appear-1\n"
        "2026-01-01 00:00:00,000 INFO edge.reporting: event loop\n"
        "2026-01-01 00:00:01,000 DEBUG edge.reporting: event a-leave-7\n"
    )
    assert events_put(log) == ["a-appear-1", "a-leave-7"]
