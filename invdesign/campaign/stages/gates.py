"""Application of the funnel's gates to candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.progress import Clock
from invdesign.core.candidate import Candidate
from invdesign.io.parallel import one_thread
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    import numpy as np
    from pymatgen.core import Structure


@dataclass
class Context:
    """What gates need to know besides the candidates.

    Attributes:
        config: the campaign.
        components: what it is made of.
        owners: id of the first candidate with a gene, by gene hash; the gate ``unique`` adds to it.
        starts: starting structures with their source, by id; the gate ``geometry`` gives them.
        embeddings: the potential's, of relaxed structures, by id; the gate ``relaxation`` gives them.
    """

    config: CampaignConfig
    components: Components
    owners: dict[str, str] = field(default_factory=dict)
    starts: dict[str, list[tuple[Structure, str]]] = field(default_factory=dict)
    embeddings: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class GateUnit:
    """Candidates that go through gates together in one process."""

    config: CampaignConfig
    components: Components
    candidates: list[Candidate]


GateFunction = Callable[[Sequence[Candidate], Context], list[Verdict]]
"""Gives each candidate a verdict."""


def apply_gates(
    gates: Mapping[str, GateFunction], candidates: Sequence[Candidate], context: Context, clock: Clock
) -> list[Candidate]:
    """Record the verdicts of gates in order, each on what passed before; return what passes all."""
    alive = list(candidates)
    for name, function in gates.items():
        with clock.stage(name):
            verdicts = function(alive, context)
            alive = [c for c, verdict in zip(alive, verdicts, strict=True) if c.record(verdict)]
    return alive


def apply_to_unit(gates: Mapping[str, GateFunction], unit: GateUnit) -> tuple[list[Candidate], Clock]:
    """Put a unit's candidates through gates on one thread; return them and the cost."""
    clock = Clock()
    with one_thread():
        apply_gates(gates, unit.candidates, Context(unit.config, unit.components), clock)
    return unit.candidates, clock
