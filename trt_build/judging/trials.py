"""Every precision of a network tried on the same images, and each verdict on what it was tried for.

Context network and colorizer make one picture. They are judged together in each precision, as a unit runs them; where
the two lose too much, each is tried alone, the other being in its most exact other precision, to find the guilty one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from edge.bundles.bundle import Bundle
from edge.bundles.manifest import PRECISIONS, ImageSet, ModelEntry, ModelName, Precision
from trt_build.judging.figures import Mix, Subjects, UselessError, colour_figures, detection_figures
from trt_build.judging.gate import Limits, Standard, refusal

PAIR: Final[tuple[ModelName, ModelName]] = ("context", "colorizer")


@dataclass(frozen=True)
class Outcome:
    """What a trial gave: figures, or the sentence that says why it is useless, and whose fault that certainly is."""

    figures: dict[str, float] = field(default_factory=dict)
    fault: str | None = None
    culprit: ModelName | None = None

    def refusal(self, model: ModelName, standard: Standard | None, limits: Limits) -> str | None:
        """Why a network of the trial is refused, or None."""
        if self.fault:
            return self.fault if self.culprit in (None, model) else None
        return refusal(self.figures, standard, limits) if standard else None


@dataclass
class Judgement:
    """What was found of a network on the images `judged_on`, by precision."""

    judged_on: ImageSet
    accuracy: dict[Precision, dict[str, float]] = field(default_factory=dict)
    refused: dict[Precision, str] = field(default_factory=dict)

    def add(self, precision: Precision, outcome: Outcome, reason: str | None) -> None:
        """Note one precision."""
        if outcome.figures:
            self.accuracy[precision] = outcome.figures
        if reason:
            self.refused[precision] = reason


def judge_boxes(
    bundle: Bundle, subjects: Subjects, limits: Limits, tell: Callable[[str], None]
) -> dict[ModelName, Judgement]:
    """The recognizer in each precision; empty where there are no boxes to judge by.

    Raises:
        InputError: no image is usable, or the annotations do not fit the labels.
    """
    images, truth, folder = subjects.set_of("recognizer"), subjects.truth, subjects.images
    if images is None or truth is None or folder is None:
        return {}
    judgement = Judgement(images)
    entry = bundle.manifest.models["recognizer"]
    standard = _recorded(entry, images)
    for precision in present(entry):
        tell(f"boxes: recognizer in {precision}")
        mix: Mix = {"recognizer": precision}
        outcome = _attempt(lambda mix=mix: detection_figures(bundle, mix, truth, folder))  # type: ignore[misc]
        standard = standard or _standard(precision, outcome)
        judgement.add(precision, outcome, outcome.refusal("recognizer", standard, limits))
    return {"recognizer": judgement}


def judge_colour(
    bundle: Bundle, subjects: Subjects, limits: Limits, tell: Callable[[str], None]
) -> dict[ModelName, Judgement]:
    """Context network and colorizer in each precision; empty where there are no photographs to judge by.

    Raises:
        InputError: no photograph is usable.
    """
    images = subjects.set_of("colorizer")
    if images is None:
        return {}
    trials = _ColourTrials(bundle, subjects, limits, tell, _recorded(bundle.manifest.models["colorizer"], images))
    judgements = {model: Judgement(images) for model in PAIR}
    for precision in PRECISIONS:
        for model, (outcome, reason) in trials.of(precision, judgements).items():
            judgements[model].add(precision, outcome, reason)
    return dict(judgements)


@dataclass
class _ColourTrials:
    bundle: Bundle
    subjects: Subjects
    limits: Limits
    tell: Callable[[str], None]
    standard: Standard | None
    done: dict[tuple[Precision, ...], Outcome] = field(default_factory=dict)

    def of(
        self, precision: Precision, judgements: dict[ModelName, Judgement]
    ) -> dict[ModelName, tuple[Outcome, str | None]]:
        """Outcome and reason of refusal for those of the pair that have this precision."""
        entries = self.bundle.manifest.models
        sharing = [model for model in PAIR if precision in entries[model].precisions]
        if not sharing:
            return {}
        exact = {model: _most_exact(entries[model], judgements[model].refused, precision) for model in PAIR}
        together = self._try(exact | dict.fromkeys(sharing, precision))
        self.standard = self.standard or _standard(precision, together)
        reasons = self._reasons(dict.fromkeys(sharing, together))
        if len(sharing) == 1 or not any(reasons.values()):
            return {model: (together, reasons[model]) for model in sharing}
        alone = {model: self._try({**exact, model: precision}) for model in sharing}
        reasons_alone = self._reasons(alone)
        if any(reasons_alone.values()):
            return {model: (alone[model], reasons_alone[model]) for model in sharing}
        why = next(filter(None, reasons.values()))
        return dict.fromkeys(sharing, (together, f"context network and colorizer together: {why}"))

    def _reasons(self, outcomes: dict[ModelName, Outcome]) -> dict[ModelName, str | None]:
        return {model: each.refusal(model, self.standard, self.limits) for model, each in outcomes.items()}

    def _try(self, mix: Mix) -> Outcome:
        key = tuple(mix[model] for model in PAIR)
        if key not in self.done:
            self.tell(f"colour: context network in {key[0]}, colorizer in {key[1]}")
            self.done[key] = _attempt(lambda: colour_figures(self.bundle, mix, self.subjects.colour))
        return self.done[key]


def present(entry: ModelEntry) -> list[Precision]:
    """The precisions of a network, from the most exact."""
    return [precision for precision in PRECISIONS if precision in entry.precisions]


def _most_exact(entry: ModelEntry, refused: Iterable[Precision], other_than: Precision) -> Precision:
    """The most exact precision that is good so far, and not this one unless there is no other."""
    usable = [precision for precision in present(entry) if precision not in (*refused, other_than)]
    return (usable or present(entry))[0]


def _attempt(measure: Callable[[], dict[str, float]]) -> Outcome:
    try:
        return Outcome(measure())
    except UselessError as error:
        return Outcome(fault=str(error), culprit=error.model)


def _standard(precision: Precision, outcome: Outcome) -> Standard | None:
    return Standard(precision, outcome.figures) if outcome.figures else None


def _recorded(entry: ModelEntry, images: ImageSet) -> Standard | None:
    """A more exact precision than those that are here, measured on the very same images before it was left out."""
    if entry.judged_on != images:
        return None
    first = PRECISIONS.index(present(entry)[0])
    known = [p for p in PRECISIONS[:first] if p in entry.accuracy and p not in entry.refused]
    return Standard(known[0], entry.accuracy[known[0]]) if known else None
