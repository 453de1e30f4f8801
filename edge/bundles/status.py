"""What health tells of the bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge.bundles.state import SHIPPED

Phase = Literal["fixed", "idle", "trial", "probation"]


@dataclass(frozen=True, slots=True)
class UpdateStatus:
    """What goes on.

    Attributes:
        phase: "fixed" where the configuration names the bundle, and the store is not used.
        bundle: the one that runs, by its name in the store.
        news: the last thing that happened to a bundle since the service started, in one line.
    """

    phase: Phase = "idle"
    bundle: str = SHIPPED
    news: str = ""
