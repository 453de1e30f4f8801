"""How far the building of engines is: what `tapetum-build ensure` tells, one JSON object a line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge.bundles.manifest import ModelName, Precision

BuildState = Literal["waiting", "kept", "building", "verifying", "built", "failed"]


class BuildProgress(BaseModel):
    """Where the work on one network's engine is. Without a model it is of none: another builder must end first
    (waiting), or a cubin of the GPU's kernels was compiled (built).

    Attributes:
        detail: building: the phase in TensorRT's words; failed, waiting: the reason; kept, built: the file and why.
        percent: of the build; None outside of one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    state: BuildState
    model: ModelName | None = None
    precision: Precision | None = None
    detail: str = ""
    percent: Annotated[int, Field(ge=0, le=100)] | None = None

    def __str__(self) -> str:
        percent = None if self.percent is None else f"{self.percent} %"
        return " ".join(filter(None, (self.model, self.precision, self.state, percent)))
