"""The values that may be changed while the service runs. They last until its next start, which takes the file's.

The bounds are those of the configuration: a new value is checked by the section that the value comes from.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from edge.config import Config
from edge.errors import RefusedError
from edge.sections import LogLevel, Section

_SECTIONS = {
    "score_threshold": "detect",
    "update_interval_s": "detect",
    "overlay": "rtsp",
    "bitrate_kbps": "rtsp",
    "log_level": "service",
}


@dataclass(frozen=True, slots=True)
class Values:
    """All of them at one moment; names, units and bounds are those of the configuration's keys."""

    score_threshold: float
    update_interval_s: float
    overlay: bool
    bitrate_kbps: int
    log_level: LogLevel


class Settings:
    """Run-time values, from any thread: readers take `now`, once for each frame, and never wait."""

    def __init__(self, config: Config) -> None:
        self._sections: dict[str, Section] = {
            "detect": config.detect,
            "rtsp": config.rtsp,
            "service": config.service,
        }
        self._watchers: list[Callable[[Values], None]] = []
        self._lock = threading.Lock()
        self.now = self._values()

    def watch(self, on_change: Callable[[Values], None]) -> None:
        """Call this after each change, in the thread that makes it: for what cannot look at `now` by itself."""
        self._watchers.append(on_change)

    def set(self, name: str, value: object) -> None:
        """Change one value.

        Raises:
            RefusedError: there is no such value, or it is of another type or out of its bounds.
        """
        if name not in _SECTIONS:
            raise RefusedError(f"no such value: choose one of {', '.join(_SECTIONS)}")
        with self._lock:
            section = self._sections[_SECTIONS[name]]
            try:
                changed = type(section).model_validate({**section.model_dump(), name: value})
            except ValidationError as error:
                raise RefusedError(f"{name}: {error.errors()[0]['msg']}") from error
            self._sections[_SECTIONS[name]] = changed
            self.now = self._values()
            for on_change in self._watchers:
                on_change(self.now)

    def _values(self) -> Values:
        return Values(**{name: getattr(self._sections[section], name) for name, section in _SECTIONS.items()})
