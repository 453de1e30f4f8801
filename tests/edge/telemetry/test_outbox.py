"""The queue towards the broker, without a broker."""

from __future__ import annotations

import threading

from edge.telemetry.outbox import Message, Outbox


def message(number: int) -> Message:
    return Message("topic", str(number).encode())


def filled(limit: int, count: int) -> Outbox:
    outbox = Outbox(limit)
    for number in range(count):
        outbox.put(message(number))
    return outbox


def send(outbox: Outbox, count: int) -> None:
    """Send so many, with the message's number plus 100 as the packet identifier."""
    for _ in range(count):
        taken = outbox.take()
        assert taken is not None
        outbox.sent(int(taken.payload) + 100, taken)


def drain(outbox: Outbox) -> list[int]:
    return [int(taken.payload) for taken in iter(outbox.take, None)]


def test_first_in_first_out() -> None:
    outbox = filled(10, 4)
    assert len(outbox) == 4
    assert drain(outbox) == [0, 1, 2, 3]
    assert outbox.take() is None


def test_a_full_outbox_gives_up_the_oldest() -> None:
    outbox = filled(3, 5)
    assert outbox.dropped == 2
    assert drain(outbox) == [2, 3, 4]


def test_what_is_not_acknowledged_waits_again_before_all_others_in_its_order() -> None:
    outbox = filled(10, 5)
    send(outbox, 3)
    assert outbox.acknowledge(101) == message(1)
    assert (len(outbox), outbox.in_flight) == (4, 2)
    outbox.rewind()
    assert (len(outbox), outbox.in_flight) == (4, 0)
    assert drain(outbox) == [0, 2, 3, 4]


def test_rewinding_into_a_full_outbox_gives_up_the_oldest_too() -> None:
    outbox = filled(3, 3)
    send(outbox, 2)
    for number in (3, 4):
        outbox.put(message(number))
    outbox.rewind()
    assert outbox.dropped == 2
    assert drain(outbox) == [2, 3, 4]


def test_an_unknown_acknowledgement_is_nobodys() -> None:
    assert filled(3, 1).acknowledge(7) is None


def test_many_threads_put_while_one_takes() -> None:
    outbox = Outbox(100_000)

    def write(base: int) -> None:
        for n in range(base, base + 2000):
            outbox.put(message(n))

    writers = [threading.Thread(target=write, args=(base,)) for base in (0, 10_000, 20_000)]
    for writer in writers:
        writer.start()
    taken: list[int] = []
    while any(writer.is_alive() for writer in writers):
        taken += drain(outbox)
    taken += drain(outbox)
    assert len(taken) == 6000
    for base in (0, 10_000, 20_000):  # each writer's own order holds
        assert [n for n in taken if base <= n < base + 10_000] == list(range(base, base + 2000))


def test_a_newer_state_replaces_the_one_that_waits_and_costs_no_event() -> None:
    box = Outbox(3)
    box.put(Message("events", b"e"))
    for number in range(10):
        box.put(Message("health", b"%d" % number, is_state=True))
    waiting = [box.take(), box.take(), box.take()]
    assert [m.payload if m else None for m in waiting] == [b"e", b"9", None]
    assert box.dropped == 0
