"""Which bundles a unit runs, ran and is to run: the content of state.json, and each step from one state to the next.

::

    install, activate        try_begun          switched             proven
    ----------------->  candidate  -----> candidate -----> active on probation ------> active
                                          | rejected            | rolled_back
                                          v                     v
                                        (gone)             previous is active

Every step is a pure function of the state; `store.py` puts its result on the disk before anything follows from it.
A step that is told of a bundle changes nothing where that is not, or no longer, the one that it is about: commands
and the service may have taken another step in between.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from edge.bundles.manifest import Manifest
from edge.bundles.versions import Release, is_older, release_of

SHIPPED: Final = "shipped"  # the bundle that came with Tapetum: not in the store, always there
CRASHES: Final = (
    3  # runs of the service that did not end in order, after which a bundle on trial or probation is blamed
)
HISTORY: Final = 50
NAMES: Final = 64  # of bundles whose newest release is remembered

# <name>-<version>-<12 digits of the manifest's sha256>, a plain name; or SHIPPED.
BundleId = Annotated[str, Field(pattern=r"^(shipped|[A-Za-z0-9][A-Za-z0-9_.-]{0,200}-[0-9a-f]{12})$")]
Happening = Literal["installed", "asked", "rejected", "switched", "forced", "proven", "rolled back"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Candidate(_Section):
    """A bundle that is to be tried. `begun`: trials that began and did not come to an end, as in a crash."""

    bundle: BundleId
    begun: Annotated[int, Field(ge=0)] = 0


class Probation(_Section):
    """The first minutes of the active bundle. `begun`: runs of the service that began in it and did not end in order.

    `left_s` counts the time in which the service ran; what a crash interrupted counts as not begun.
    """

    left_s: Annotated[float, Field(ge=0)]
    begun: Annotated[int, Field(ge=0)] = 1


class Past(_Section):
    """Something that happened to a bundle."""

    at: AwareDatetime
    bundle: BundleId
    what: Happening
    detail: str = ""


class State(_Section):
    """See above. `newest`: of each name, the newest release that was ever installed."""

    format: Literal[1] = 1
    active: BundleId = SHIPPED
    previous: BundleId | None = None
    candidate: Candidate | None = None
    probation: Probation | None = None
    newest: dict[str, Release] = {}
    history: tuple[Past, ...] = ()

    def used(self) -> set[str]:
        """Bundles that may be needed at any moment."""
        return {self.active, self.previous or SHIPPED, self.candidate.bundle if self.candidate else SHIPPED}

    def tries(self, bundle: str) -> bool:
        """Whether this bundle is the candidate."""
        return self.candidate is not None and self.candidate.bundle == bundle

    def is_older(self, manifest: Manifest) -> bool:
        """Whether a bundle is older than what was installed before it: then it may be an attacker's, who kept it."""
        return is_older(release_of(manifest), manifest.name, self.newest)

    def installed(self, bundle: str, manifest: Manifest) -> State:
        """A new bundle lies in the store, and is to be tried; it counts as installed for `is_older`."""
        known = self if self.is_older(manifest) else self._with(newest=self._newest_with(manifest))
        if bundle == self.active:
            return known._past(bundle, "installed", "it is active already")
        return known._with(candidate=Candidate(bundle=bundle))._past(bundle, "installed")

    def asked(self, bundle: str) -> State:
        """A bundle of the store is to be tried."""
        if bundle == self.active:
            return self._with(candidate=None)
        return self._with(candidate=Candidate(bundle=bundle))._past(bundle, "asked")

    def forced(self, bundle: str) -> State:
        """A bundle takes over without trial and probation."""
        return self._moved(bundle, previous=self.active)._past(bundle, "forced")

    def try_begun(self, bundle: str) -> State:
        """A trial begins."""
        return self._tried(bundle, 1)

    def try_ended(self, bundle: str) -> State:
        """The service ends, in order, before the trial does."""
        return self._tried(bundle, -1)

    def rejected(self, bundle: str, reason: str) -> State:
        """The trial failed."""
        return self._with(candidate=None)._past(bundle, "rejected", reason) if self.tries(bundle) else self

    def switched(self, bundle: str, detail: str, probation_s: float) -> State:
        """The candidate takes over, on probation."""
        if not self.tries(bundle):
            return self
        moved = self._moved(bundle, previous=self.active)
        return moved._with(probation=Probation(left_s=probation_s))._past(bundle, "switched", detail)

    def run_begun(self) -> State:
        """The service starts."""
        return self._proved(1, self.probation.left_s) if self.probation else self

    def run_ended(self, left_s: float) -> State:
        """The service ends, in order, in the middle of the probation."""
        return self._proved(-1, left_s) if self.probation else self

    def proven(self, bundle: str) -> State:
        """The probation is over."""
        return self._with(probation=None)._past(bundle, "proven") if bundle == self.active else self

    def rolled_back(self, bundle: str, reason: str) -> State:
        """The active bundle failed: the one before it takes over, and after that only the shipped one is left."""
        if bundle != self.active:
            return self
        to = self.previous or SHIPPED
        moved = self._moved(to, previous=None if to == SHIPPED else SHIPPED)
        candidate = None if self.tries(to) else self.candidate  # it may be what mends all
        return moved._with(candidate=candidate)._past(bundle, "rolled back", reason)

    def withdrawn(self) -> State:
        """Nothing is to be tried."""
        return self._with(candidate=None)

    def _tried(self, bundle: str, step: int) -> State:
        if self.candidate is None or self.candidate.bundle != bundle:
            return self
        return self._with(candidate=Candidate(bundle=bundle, begun=max(0, self.candidate.begun + step)))

    def _proved(self, step: int, left_s: float) -> State:
        assert self.probation is not None
        return self._with(probation=Probation(left_s=left_s, begun=max(0, self.probation.begun + step)))

    def _moved(self, to: str, previous: str | None) -> State:
        """Another active bundle; what was to be tried beside the former is not tried beside this one."""
        return self._with(active=to, previous=None if previous == to else previous, probation=None, candidate=None)

    def _newest_with(self, manifest: Manifest) -> dict[str, Release]:
        others = [(name, release) for name, release in self.newest.items() if name != manifest.name]
        return dict([*others, (manifest.name, release_of(manifest))][-NAMES:])

    def _past(self, bundle: str, what: Happening, detail: str = "") -> State:
        past = Past(at=datetime.now(timezone.utc).replace(microsecond=0), bundle=bundle, what=what, detail=detail)
        return self._with(history=(*self.history, past)[-HISTORY:])

    def _with(self, **changed: object) -> State:
        return self.model_copy(update=changed)
