"""The funnel in figures: how many candidates entered and passed each stage, why not, at what cost."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from invdesign.core.checks import CHECKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from invdesign.core.candidate import Candidate

GENE_GATES = ("target", "charge balance", "unique", "novelty")
STRUCTURE_GATES = ("geometry", "relaxation", "hull", "properties")
STAGES = ("generator", *GENE_GATES, "quick rank", *STRUCTURE_GATES, "identity", *CHECKS, "shortlist")


@dataclass(slots=True)
class Stage:
    """One stage's tally.

    Attributes:
        name: the stage, a gate's name or ``generator`` or ``shortlist``.
        entered: candidates that came in.
        passed: candidates that went on.
        wall: seconds, summed over the processes that worked side by side.
        core: core seconds.
        reasons: how often each kind of reason rejected.
    """

    name: str
    entered: int = 0
    passed: int = 0
    wall: float = 0.0
    core: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def rejected(self) -> int:
        """Candidates that did not go on."""
        return self.entered - self.passed


class Funnel:
    """Tallies of all stages, in order."""

    def __init__(self) -> None:
        self.stages = {name: Stage(name) for name in STAGES}

    @classmethod
    def of(cls, candidates: Iterable[Candidate], seconds: Mapping[str, Iterable[float]]) -> Funnel:
        """The funnel of stored candidates and the stored seconds."""
        funnel = cls()
        funnel.count(candidates, STAGES)
        funnel.charge(seconds)
        return funnel

    def count(self, candidates: Iterable[Candidate], stages: Iterable[str]) -> None:
        """Add candidates' verdicts of the given stages."""
        wanted = [self.stages[name] for name in stages]
        for candidate in candidates:
            for stage in wanted:
                verdict = candidate.verdicts.get(stage.name)
                if verdict is not None:
                    stage.entered += 1
                    stage.passed += verdict.passed
                    if not verdict.passed:
                        stage.reasons[kind_of_reason(verdict.reason)] += 1
                elif stage.name == "generator":
                    stage.entered += 1
                    stage.passed += 1
                elif stage.name == "shortlist" and candidate.selection and candidate.alive:
                    stage.entered += 1
                    stage.passed += candidate.shortlisted

    def charge(self, seconds: Mapping[str, Iterable[float]]) -> None:
        """Add wall and core seconds by stage."""
        for name, (wall, core) in seconds.items():
            self.stages[name].wall += wall
            self.stages[name].core += core

    def __iter__(self) -> Iterator[Stage]:
        """Stages in order; a check that nobody came to is none."""
        return (stage for stage in self.stages.values() if stage.entered or stage.name not in CHECKS)

    def as_json(self) -> list[dict[str, object]]:
        """For ``run.json``: one record per stage."""
        return [
            {
                "stage": s.name,
                "entered": s.entered,
                "passed": s.passed,
                "wall_s": round(s.wall, 2),
                "core_s": round(s.core, 2),
                "reasons": dict(s.reasons.most_common(8)),
            }
            for s in self
        ]


@dataclass(frozen=True, slots=True)
class Yield:
    """What a generator gave and cost.

    Attributes:
        generator: its name.
        genes: candidates that it proposed.
        relaxed: how many of them the campaign spent relaxations on.
        survivors: how many of these came under the limit of the hull.
        shortlisted: how many are on the shortlist.
        core: core seconds for its candidates alone.
    """

    generator: str
    genes: int
    relaxed: int
    survivors: int
    shortlisted: int
    core: float

    def as_json(self) -> dict[str, object]:
        """For ``run.json``."""
        return {**asdict(self), "core": round(self.core, 2)}


def yields(candidates: Iterable[Candidate], core: Mapping[str, float]) -> list[Yield]:
    """The yield of each generator, in order of first appearance."""
    own: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        own.setdefault(candidate.origin.generator, []).append(candidate)
    return [
        Yield(
            name,
            len(group),
            sum("geometry" in c.verdicts for c in group),
            sum("hull" in c.verdicts and c.verdicts["hull"].passed for c in group),
            sum(c.shortlisted for c in group),
            core.get(name, 0.0),
        )
        for name, group in own.items()
    ]


def kind_of_reason(reason: str) -> str:
    """A verdict's sentence without its particulars.

    What comes before a colon or bracket, with … for figures, pairs of elements, ions and formulas.
    """
    head = re.split(r"[:;(]", reason, maxsplit=1)[0].strip()
    words = re.sub(r"[\w.+-]*\d[\w.+-]*|\b[A-Z][a-z]?-[A-Z][a-z]?\b", "…", head)
    return re.sub(r"…( …)+", "…", words)
