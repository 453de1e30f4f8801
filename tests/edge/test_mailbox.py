"""The box between two threads: the newest wins, and nothing is handed over twice."""

from __future__ import annotations

import threading
import time

from edge.mailbox import Mailbox


def test_the_newest_wins_and_the_others_are_counted() -> None:
    box: Mailbox[int] = Mailbox()
    for number in range(4):
        box.put(number)
    assert (box.get(0), box.get(0), box.dropped) == (3, None, 3)


def test_falsy_items_are_items() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(0)
    assert box.get(0) == 0


def test_the_reader_is_woken_by_an_item() -> None:
    box: Mailbox[str] = Mailbox()
    timer = threading.Timer(0.05, box.put, ["frame"])
    timer.start()
    assert box.get(30) == "frame"
    timer.join()


def test_the_reader_is_woken_by_the_end() -> None:
    box: Mailbox[str] = Mailbox()
    timer = threading.Timer(0.05, box.close)
    timer.start()
    started_s = time.monotonic()
    assert box.get(30) is None
    assert box.get(30) is None, "and from then on it does not wait"
    assert time.monotonic() - started_s < 30
    timer.join()


def test_between_two_threads_nothing_is_lost_uncounted_or_handed_over_twice() -> None:
    box: Mailbox[int] = Mailbox()
    count = 20_000
    got: list[int] = []

    def read() -> None:
        while (number := box.get(30)) is not None:
            got.append(number)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(count):
        box.put(number)
    while got[-1:] != [count - 1]:
        time.sleep(0.001)
    box.close()
    reader.join()
    assert got == sorted(set(got))
    assert len(got) + box.dropped == count
