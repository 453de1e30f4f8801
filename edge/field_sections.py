"""More sections of the configuration: how the unit looks after itself in the field."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from edge.sections import Section

Seconds = Annotated[float, Field(ge=0, le=86_400 * 7)]
Percent = Annotated[float, Field(ge=0, le=100)]


class GovernorConfig(Section):
    """Each reading has a limit that presses, and one behind which it no longer does."""

    enabled: bool = True
    temperature_c: Annotated[float, Field(ge=30, le=120)] = 85.0
    temperature_recovered_c: Annotated[float, Field(ge=20, le=120)] = 78.0
    memory_available_percent: Percent = 8.0
    memory_recovered_percent: Percent = 12.0
    memory_stall_percent: Annotated[float, Field(gt=0, le=100)] = 20.0
    load: Annotated[float, Field(gt=0, le=1000)] = 4.0
    load_recovered: Annotated[float, Field(gt=0, le=1000)] = 2.5
    power_w: Annotated[float, Field(ge=0, le=1000)] = 0.0
    press_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    recover_s: Annotated[float, Field(ge=0, le=86_400)] = 120.0
    context_factor: Annotated[float, Field(ge=1, le=1000)] = 6.0
    colour_fps: Annotated[float, Field(ge=1, le=240)] = 10.0
    frame_scale: Annotated[float, Field(ge=0.1, le=1)] = 0.5

    @model_validator(mode="after")
    def _ordered(self) -> GovernorConfig:
        if self.temperature_recovered_c >= self.temperature_c:
            raise ValueError("temperature_recovered_c must be below temperature_c")
        if self.memory_recovered_percent <= self.memory_available_percent:
            raise ValueError("memory_recovered_percent must be above memory_available_percent")
        if self.load_recovered >= self.load:
            raise ValueError("load_recovered must be below load")
        return self


class UpdatesConfig(Section):
    trial_s: Annotated[float, Field(ge=1, le=3600)] = 30.0
    probation_s: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    keep: Annotated[int, Field(ge=1, le=100)] = 2


class StationConfig(Section):
    """For how long each thing must be wrong before it is told; 0 does not look for it."""

    enabled: bool = True
    interval_s: Annotated[float, Field(ge=0.2, le=10)] = 1.0
    frozen_s: Seconds = 30.0
    black_s: Seconds = 20.0
    blurred_s: Seconds = 120.0
    moved_s: Seconds = 60.0
    moved_accept_s: Annotated[float, Field(ge=60, le=86_400 * 7)] = 3600.0
    daylight_s: Seconds = 10.0
    clock_jump_s: Seconds = 2.0
    disk_free_mb: Annotated[int, Field(ge=0, le=1_000_000_000)] = 500
    repeat_s: Seconds = 10_800.0
