"""Whether the engines compute what their graphs say: against ONNX Runtime, on real frames."""

from __future__ import annotations

from edge.bundles.manifest import Precision
from tests.gpu_check.driver import need_driver
from tests.gpu_check.figures import Figures
from tests.gpu_check.places import bundle_of, engines_of, images
from trt_build.engines.target import target_here
from trt_build.verification.bundle import engines_here, verify_bundle


class DiffersError(Exception):
    """An engine is further from its graph than it may be."""


def engines(figures: Figures, variant: str, precision: Precision) -> None:
    """All networks of a variant, by the measures and limits of `tapetum-build verify`.

    Raises:
        DiffersError: a limit is not kept.
    """
    need_driver()
    target = target_here()
    bundle, frames = bundle_of(variant, precision), images()
    figures["frames"] = len(frames)
    exceeded: list[str] = []
    for comparison in verify_bundle(bundle, engines_here(bundle, engines_of(variant), target), frames):
        figures[comparison.model] = comparison.measures
        exceeded += comparison.exceeded
    if exceeded:
        raise DiffersError("; ".join(exceeded))
