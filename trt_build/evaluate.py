"""A bundle measured: accuracy, size and time of every precision on the same images, and the gate's word on each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.bundles.bundle import Bundle, read_manifest
from edge.bundles.manifest import MODEL_NAMES, Cost, Manifest, ModelEntry, ModelName, Precision
from edge.errors import InputError, TapetumError
from edge.media import read_still
from edge.types import UInt8Array
from trt_build.graphs import spread
from trt_build.judging.cost import measure_cost
from trt_build.judging.figures import Subjects, UselessError
from trt_build.judging.gate import Limits
from trt_build.judging.trials import Judgement, judge_boxes, judge_colour, present
from trt_build.signing import check_graphs
from trt_build.writing import check_writable, write_bundle

TIMED_FRAMES = 8

Faults = dict[Precision, str]


class NothingLeftError(TapetumError):
    """Every precision of a network is refused."""


def evaluate(
    folder: Path,
    subjects: Subjects,
    limits: Limits,
    *,
    key: Ed25519PrivateKey | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[Manifest, bool]:
    """Measure a bundle and write what was found into its manifest: accuracy, cost, refusals, choices.

    A network that `subjects` cannot judge keeps what is known of it; only its cost is measured.

    Args:
        key: to sign the new manifest with; without one, a signature is removed, since it no longer fits.
        tell: gets a line before each trial.

    Returns:
        The new manifest, and whether a signature was removed.

    Raises:
        BundleError: the bundle is not whole.
        InputError: no image is usable, or the annotations do not fit the labels.
        TapetumError: the manifest cannot be written; the bundle is as it was.
    """
    manifest = read_manifest(folder)
    check_graphs(folder, manifest)
    check_writable(folder)
    bundle = Bundle(folder.absolute(), manifest, "auto", allow_refused=True)
    judgements = judge_colour(bundle, subjects, limits, tell) | judge_boxes(bundle, subjects, limits, tell)
    frames = _frames(subjects)
    models: dict[ModelName, ModelEntry] = {}
    for model in MODEL_NAMES:
        tell(f"time: {model}")
        costs, faults = _costs(bundle, model, frames)
        models[model] = judged(manifest.models[model], judgements.get(model), costs, faults)
    manifest = manifest.model_copy(update={"models": models})
    return manifest, write_bundle(folder, manifest, {}, key)


def check_something_is_left(manifest: Manifest) -> None:
    """Tell of networks that cannot be used in any precision.

    Raises:
        NothingLeftError: there is one.
    """
    lost = [model for model, entry in manifest.models.items() if entry.cheapest is None]
    if lost:
        raise NothingLeftError(
            f"bundle {manifest.name}: every precision of {', '.join(lost)} is refused: pack it with fp32, or train, "
            "calibrate or quantize again"
        )


def judged(
    entry: ModelEntry, judgement: Judgement | None, costs: dict[Precision, Cost], faults: Faults
) -> ModelEntry:
    """A manifest's entry with what was found of it.

    Of precisions that are not in the bundle any more, figures and refusals stay where they were found on the same
    images. `chosen` moves to the cheapest precision that is left, unless the user fixed it or nothing was judged.
    """
    kept_costs = {precision: cost for precision, cost in entry.cost.items() if precision not in entry.precisions}
    update: dict[str, object] = {"cost": kept_costs | costs}
    if judgement is None:
        update["refused"] = entry.refused | faults
    else:
        known = entry.judged_on == judgement.judged_on
        gone = {p for p in (*entry.accuracy, *entry.refused) if known and p not in entry.precisions}
        update["judged_on"] = judgement.judged_on
        update["accuracy"] = {p: v for p, v in entry.accuracy.items() if p in gone} | judgement.accuracy
        update["refused"] = {p: v for p, v in entry.refused.items() if p in gone} | faults | judgement.refused
    found = entry.model_copy(update=update)
    must_move = judgement is not None or found.chosen in found.refused
    if found.chosen_fixed or found.cheapest is None or not must_move:
        return found
    return found.model_copy(update={"chosen": found.cheapest})


def _costs(bundle: Bundle, model: ModelName, frames: list[UInt8Array]) -> tuple[dict[Precision, Cost], Faults]:
    costs: dict[Precision, Cost] = {}
    faults: Faults = {}
    for precision in present(bundle.manifest.models[model]):
        try:
            costs[precision] = measure_cost(bundle, model, precision, frames)
        except UselessError as error:
            faults[precision] = str(error)
    return costs, faults


def _frames(subjects: Subjects) -> list[UInt8Array]:
    """Some of the images, for the time; broken ones were told when they were judged."""
    frames = []
    for file in spread([*subjects.colour, *subjects.boxed_images()], TIMED_FRAMES):
        try:
            frames.append(read_still(file))
        except InputError:
            continue
    if not frames:
        raise InputError("none of the images that the time is measured on can be read: give other images")
    return frames
