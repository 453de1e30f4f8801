"""Slows the picture down when the machine has it hard, so that detection goes on as ever.

First the scene's context vector is renewed more seldom, then fewer frames are coloured, then smaller ones; one level
at a time, and back the same way. What must press, and for how long, and what must have passed, is in `[governor]`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edge.conditions import Conditions
from edge.field_sections import GovernorConfig
from edge.limits import UNLIMITED, Limits
from edge.rounds import Rounds
from edge.station.sensors import Readings, Sensors

INTERVAL_S = 2.0
LEVELS = ("context", "colour rate", "frame size")  # what each level lowers, beside those before it
POWER_RECOVERED = 0.9  # share of power_w
STALL_RECOVERED = 0.5  # share of memory_stall_percent


@dataclass(frozen=True, slots=True)
class Gauge:
    """One reading beside its limits, all of them with the high values as the bad ones."""

    text: str
    value: float
    limit: float
    recovered: float


@dataclass(frozen=True, slots=True)
class GovernorState:
    """For health. `reasons`: what presses or, above level 0, has not recovered; one line each."""

    level: int = 0
    reasons: tuple[str, ...] = ()
    readings: Readings = field(default_factory=Readings)


class Ladder:
    """The level, 0 to `top`: up when pressed for `press_s` on end, down when free for `recover_s` on end."""

    def __init__(self, top: int, press_s: float, recover_s: float) -> None:
        self.level = 0
        self._top, self._press_s, self._recover_s = top, press_s, recover_s
        self._step = 0  # where it wants to go: up, down or nowhere
        self._since_s = 0.0

    def move(self, *, is_pressed: bool, is_free: bool, now_s: float) -> None:
        """What holds at `now_s`: neither of the two keeps the level, and starts both times anew."""
        step = 1 if is_pressed else -1 if is_free else 0
        if step != self._step:
            self._step, self._since_s = step, now_s
        if step and now_s - self._since_s >= (self._press_s if step > 0 else self._recover_s):
            self.level = min(max(self.level + step, 0), self._top)
            self._since_s = now_s


class Governor(Rounds):
    """Reads the sensors and sets `limits` and `state`, which any thread may read.

    Args:
        detect_max_fps: colour is never made slower than detection.
        clock_s: a clock that only goes forward.
    """

    def __init__(
        self,
        config: GovernorConfig,
        detect_max_fps: float,
        conditions: Conditions,
        sensors: Sensors,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("governor", INTERVAL_S, {"sensors": self._govern}, conditions)
        self.limits = UNLIMITED
        self.state = GovernorState()
        self._config, self._sensors, self._clock_s = config, sensors, clock_s
        self._colour_fps = max(config.colour_fps, detect_max_fps)
        self._ladder = Ladder(len(LEVELS), config.press_s, config.recover_s)

    def _govern(self) -> None:
        readings = self._sensors.read()
        pressing = [*_throttling(readings), *_over(readings, self._config)]
        lingering = list(_lingering(readings, self._config))
        if self._config.enabled:
            self._ladder.move(
                is_pressed=bool(pressing), is_free=not pressing and not lingering, now_s=self._clock_s()
            )
        level = self._ladder.level
        reasons = pressing or (lingering if level else [])
        self.limits = self._limits(level)
        self.state = GovernorState(level, tuple(reasons), readings)
        why = "; ".join(reasons) or "recovering"
        lowered = f"level {level} of {len(LEVELS)} ({', '.join(LEVELS[:level])}): {why}"
        self._conditions.report("slowed_down", level > 0, lowered if level else "the machine has recovered")

    def _limits(self, level: int) -> Limits:
        config = self._config
        return Limits(
            context_factor=config.context_factor if level >= 1 else 1.0,
            colour_max_fps=self._colour_fps if level >= 2 else None,
            frame_scale=config.frame_scale if level >= 3 else 1.0,
        )


def _throttling(readings: Readings) -> Iterator[str]:
    if readings.throttled:
        yield f"throttled by {', '.join(readings.throttled)}"


def _over(readings: Readings, config: GovernorConfig) -> Iterator[str]:
    return (gauge.text for gauge in _gauges(readings, config) if gauge.value >= gauge.limit)


def _lingering(readings: Readings, config: GovernorConfig) -> Iterator[str]:
    """Above what counts as recovered."""
    gauges = (gauge for gauge in _gauges(readings, config) if gauge.value > gauge.recovered)
    return (f"{gauge.text}, not yet recovered" for gauge in gauges)


def _gauges(readings: Readings, config: GovernorConfig) -> Iterator[Gauge]:
    """Those of which the machine tells."""
    if (heat := readings.temperature_c) is not None:
        text = f"{heat:.1f} \N{DEGREE SIGN}C (limit {config.temperature_c:g})"
        yield Gauge(text, heat, config.temperature_c, config.temperature_recovered_c)
    if (free := readings.memory_available_percent) is not None:
        text = f"{free:.1f} % of memory available (limit {config.memory_available_percent:g})"
        yield Gauge(text, -free, -config.memory_available_percent, -config.memory_recovered_percent)
    if (stall := readings.memory_stall_percent) is not None:
        limit = config.memory_stall_percent
        yield Gauge(
            f"{stall:.0f} % of the time short of memory (limit {limit:g})", stall, limit, STALL_RECOVERED * limit
        )
    if (load := readings.load) is not None:
        yield Gauge(f"load {load:.1f} a processor (limit {config.load:g})", load, config.load, config.load_recovered)
    if (power := readings.power_w) is not None and config.power_w:
        text = f"{power:.1f} W (limit {config.power_w:g})"
        yield Gauge(text, power, config.power_w, POWER_RECOVERED * config.power_w)
