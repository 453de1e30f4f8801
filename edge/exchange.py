"""What a running thread works with, exchanged for something better between two frames."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from edge.closing import Closing

P = TypeVar("P", bound=Closing)


class Exchange(Closing, Generic[P]):
    """What one thread uses, the owner, and others may replace.

    The owner closes what it does not need any more, and nobody closes what it may be using.

    Attributes:
        current: what the owner uses.
    """

    def __init__(self, first: P) -> None:
        self.current = first
        self._lock = threading.Lock()
        self._offer: tuple[P, Callable[[], None]] | None = None
        self._is_closed = False

    def offer(self, new: P, on_taken: Callable[[], None] = lambda: None) -> None:
        """Give the owner another one, from any thread. An earlier one that the owner did not take is closed.

        Args:
            new: taken over, and closed at once where the owner has ended.
            on_taken: called by the owner's thread when it has it.
        """
        with self._lock:
            unused = self._offer
            self._offer = None if self._is_closed else (new, on_taken)
            is_over = self._is_closed
        if unused is not None:
            unused[0].close()
        if is_over:
            new.close()

    def take(self) -> None:
        """Use what was offered, if anything, and close what was in use. For the owner's thread."""
        with self._lock:
            offer, self._offer = self._offer, None
        if offer is not None:
            former, self.current = self.current, offer[0]
            with former:
                offer[1]()

    def close(self) -> None:
        """Close what is in use, and what was offered. For the owner's thread, or when that has ended."""
        with self._lock:
            offer, self._offer, self._is_closed = self._offer, None, True
        with self.current:
            if offer is not None:
                offer[0].close()
