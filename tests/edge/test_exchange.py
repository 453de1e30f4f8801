"""What one thread uses and others replace: who closes what, and when."""

from __future__ import annotations

import pytest

from edge.closing import Closing
from edge.exchange import Exchange


class Tool(Closing):
    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_the_owner_changes_when_it_likes() -> None:
    old, new = Tool(), Tool()
    taken: list[tuple[Tool, int]] = []
    exchange = Exchange(old)
    exchange.take()
    assert (exchange.current, old.closed) == (old, 0), "nothing was offered"
    exchange.offer(new, lambda: taken.append((exchange.current, old.closed)))
    assert (exchange.current, old.closed, taken) == (old, 0, []), "it may be in use"
    exchange.take()
    exchange.take()
    assert taken == [(new, 0)], "told once, with the new one in place and the old one still open"
    assert (old.closed, new.closed) == (1, 0)


def test_the_newest_offer_wins() -> None:
    first, second, third = Tool(), Tool(), Tool()
    exchange = Exchange(first)
    exchange.offer(second, lambda: pytest.fail("it was never taken"))
    exchange.offer(third)
    assert (second.closed, third.closed) == (1, 0)
    exchange.take()
    assert exchange.current is third


def test_the_end_closes_all() -> None:
    tools = [Tool() for _ in range(3)]
    exchange = Exchange(tools[0])
    exchange.offer(tools[1])
    exchange.close()
    exchange.offer(tools[2], lambda: pytest.fail("nobody can take it"))
    assert [tool.closed for tool in tools] == [1, 1, 1]
    exchange.take()
    assert exchange.current is tools[0]


def test_an_error_while_the_old_one_is_closed_leaves_the_new_one_in_use() -> None:
    """The owner ends with it, and closes what is then in use."""

    class Spoilt(Tool):
        def close(self) -> None:
            raise ZeroDivisionError

    new = Tool()
    exchange: Exchange[Tool] = Exchange(Spoilt())
    exchange.offer(new)
    with pytest.raises(ZeroDivisionError):
        exchange.take()
    exchange.close()
    assert new.closed == 1
