"""The funnel: its gates in order, and how many candidates entered and passed each, why not, at what cost."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from invdesign.core.candidate import Candidate

Phase = Literal["gene", "pre-ranking", "structure", "duplicates", "finishing", "check"]


@dataclass(frozen=True, slots=True)
class Gate:
    """A criterion that every candidate of a campaign must meet.

    Attributes:
        name: in verdicts, tables and plots.
        phase: when it is applied: to genes, to what will be relaxed, to relaxed structures of a unit of
            work, to all survivors, with a second potential to the likeliest of them, or (``check``, where
            asked for) to what would be shortlisted.
    """

    name: str
    phase: Phase


GATES = (
    Gate("target", "gene"),
    Gate("charge balance", "gene"),
    Gate("unique", "gene"),
    Gate("novelty", "gene"),
    Gate("pre-ranking", "pre-ranking"),
    Gate("geometry", "structure"),
    Gate("relaxation", "structure"),
    Gate("hull", "structure"),
    Gate("site states", "structure"),
    Gate("properties", "structure"),
    Gate("duplicates", "duplicates"),
    Gate("finishing", "finishing"),
    Gate("phonons", "check"),
    Gate("md", "check"),
)
"""All gates, in order; the stage of a campaign that applies a phase binds them to functions."""


def gates_of(phase: Phase) -> tuple[Gate, ...]:
    """Return the gates of one phase, in order."""
    return tuple(gate for gate in GATES if gate.phase == phase)


GENE_GATES = tuple(gate.name for gate in gates_of("gene"))
STRUCTURE_GATES = tuple(gate.name for gate in gates_of("structure"))
FINISHING = "finishing"
CHECKS = tuple(gate.name for gate in gates_of("check"))
STAGES = ("generator", *(gate.name for gate in GATES), "shortlist")


@dataclass(slots=True)
class Stage:
    """Tally of one stage.

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
        """Return how many candidates did not go on."""
        return self.entered - self.passed


class Funnel:
    """Tallies of all stages, in order."""

    def __init__(self) -> None:
        self.stages = {name: Stage(name) for name in STAGES}

    @classmethod
    def of(cls, candidates: Iterable[Candidate], seconds: Mapping[str, Iterable[float]]) -> Funnel:
        """Tally stored candidates and the stored seconds."""
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
        """Return the stages in order, without finishing and checks where no candidate came to them."""
        optional = {FINISHING, *CHECKS}
        return (stage for stage in self.stages.values() if stage.entered or stage.name not in optional)

    def as_json(self) -> list[dict[str, object]]:
        """Return one record per stage, for ``run.json``."""
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
class GeneratorTally:
    """Yield and cost of a generator.

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
        """Return a record for ``run.json``."""
        return {**asdict(self), "core": round(self.core, 2)}


def yields(candidates: Iterable[Candidate], core: Mapping[str, float]) -> list[GeneratorTally]:
    """Tally each generator, in order of first appearance."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.origin.generator, []).append(candidate)
    return [
        GeneratorTally(
            name,
            len(group),
            sum("geometry" in c.verdicts for c in group),
            sum("hull" in c.verdicts and c.verdicts["hull"].passed for c in group),
            sum(c.shortlisted for c in group),
            core.get(name, 0.0),
        )
        for name, group in groups.items()
    ]


def kind_of_reason(reason: str) -> str:
    """Reduce a verdict's reason to its kind.

    What comes before a colon or bracket, with … for numbers, pairs of elements, ions and formulas.
    """
    head = re.split(r"[:;(]", reason, maxsplit=1)[0].strip()
    words = re.sub(r"[\w.+-]*\d[\w.+-]*|\b[A-Z][a-z]?-[A-Z][a-z]?\b", "…", head)
    return re.sub(r"…( …)+", "…", words)
