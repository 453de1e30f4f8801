"""The outcomes for machines, with what they were measured on."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge import __version__
from edge.station import machine
from tests.faults.measure import Outcome


def machine_now() -> dict[str, Any]:
    """What the figures were measured on, and when."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "tapetum": __version__,
        "processor": machine.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 1),
    }


def document(settings: Mapping[str, Any], outcomes: Sequence[Outcome]) -> bytes:
    """JSON."""
    content = {"machine": machine_now(), **settings, "faults": [outcome.figures() for outcome in outcomes]}
    return (json.dumps(content, indent=1) + "\n").encode()


def outcomes_of(path: Path) -> list[Outcome]:
    """What `document` was given."""
    names = {known.name for known in fields(Outcome)}
    faults = json.loads(path.read_text(encoding="utf-8"))["faults"]
    return [Outcome(**{name: value for name, value in fault.items() if name in names}) for fault in faults]
