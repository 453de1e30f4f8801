"""One clock over all runs of a stream."""

from __future__ import annotations


class Timeline:
    """Joins stream times into one that only goes forward.

    A clip's clock goes back when it loops and a camera's when it is connected anew; from there on the times are
    shifted so that the stream goes on one frame after where it was.
    """

    def __init__(self) -> None:
        self._offset_ns = 0
        self._last_ns = -1
        self._step_ns = 40_000_000  # a guess, until two frames tell

    def join(self, pts_ns: int) -> int:
        """The time of the next frame, in nanoseconds, greater than all before."""
        time_ns = pts_ns + self._offset_ns
        if time_ns <= self._last_ns:
            time_ns = self._last_ns + self._step_ns
            self._offset_ns = time_ns - pts_ns
        elif self._last_ns >= 0:
            self._step_ns = time_ns - self._last_ns
        self._last_ns = time_ns
        return time_ns
