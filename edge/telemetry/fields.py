"""How times and numbers look in messages."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Any

from edge.types import Instant

Payload = dict[str, Any]


def timestamp(utc: datetime) -> str:
    """UTC as ISO 8601 with milliseconds and Z, as in 2024-05-01T22:04:05.678Z."""
    return utc.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(at: Instant) -> str:
    """Whether the clock could be believed at that time."""
    return "synchronised" if at.is_synchronised else "unsynchronised"


def rounded(value: float | None, digits: int) -> float | None:
    """JSON knows no NaN and no infinity: they are unknown, too."""
    return None if value is None or not math.isfinite(value) else round(value, digits)
