"""More candidates for a campaign that has results: a campaign of its own, whose candidates join the store."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.campaign.active_learning.correction import Learned, learn
from invdesign.campaign.components import Components
from invdesign.campaign.run import DATABASE, design
from invdesign.campaign.stages.filter import first_of_genes
from invdesign.campaign.stages.predict import estimate_missing
from invdesign.campaign.store import Store
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from invdesign.campaign.config import CampaignConfig
    from invdesign.core.candidate import Candidate, Estimate

FOLDER = "more"


@dataclass(frozen=True)
class CorrectedRanker:
    """A campaign's ranker, its estimates moved as the results of DFT would have them.

    The widths of its intervals stay: those of the models that see relaxed crystals are what was learned.
    """

    ranker: Any
    learned: Learned
    name: str

    def predict(self, genes: Sequence[Gene]) -> list[dict[str, Estimate]]:
        """As the ranker's own."""
        return self.learned.corrected(
            Components(ranker=self.ranker).get("ranker").predict(genes), widths=False
        )


def draw_more(
    store: Store,
    config: CampaignConfig,
    components: Components,
    *,
    number: int,
    out: Path,
    name: str,
    executor: Executor | None = None,
    progress: bool = True,
) -> None:
    """Run a campaign in ``out/more``, quick-ranked by what was learned, and put its candidates in the store.

    Killed at any moment, the same call resumes. Its seed is drawn from the campaign's and the round's.

    Args:
        store: of the finished campaign.
        config: its config, with the genes and relaxations of this round.
        components: its components.
        number: of the round.
        out: the round's folder.
        name: of the results that were learned from.
        executor: takes the relaxations.
        progress: show the live funnel on stderr.
    """
    before = [candidate for candidate in store.read() if candidate.origin.round != number]
    if len(before) < len(store):  # they were put there in one transaction
        return
    if (out / FOLDER / DATABASE).is_file():
        begun = Store(out / FOLDER / DATABASE).identity["objects"]
        if begun.get("ranker") != name:
            raise InputError(
                f"continue: {str(out)!r} was begun from other results; remove it and give the command again."
            )
    computed = [candidate for candidate in before if candidate.dft]
    estimate_missing(computed, components)
    had = _genes_of(before)
    seed = int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0])
    result = design(
        # the round checks whom it chooses; this shortlist is nobody's
        config.model_copy(update={"out": out / FOLDER, "seed": seed, "check": ()}),
        components=replace(components, ranker=CorrectedRanker(components.ranker, learn(computed), name)),
        executor=executor,
        progress=progress,
        had=had,
    )
    first = len(store)
    store.put([_joined(candidate, first, number, had) for candidate in result.candidates], complete=True)


def _genes_of(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Id by gene hash, of genes as they were proposed and as they relaxed."""
    proposed = {
        Gene.parse(candidate.relaxation.proposed_gene).hash: candidate.id
        for candidate in candidates
        if candidate.relaxation is not None
    }
    return proposed | first_of_genes(candidates)


def _joined(candidate: Candidate, first: int, number: int, had: Mapping[str, str]) -> Candidate:
    """The candidate as one of the store's: ids counted on, and no rank, which is for one shortlist."""

    def renamed(text: str) -> str:
        return re.sub(r"\bc(\d{6,})\b", lambda found: f"c{first + int(found[1]):06d}", text)

    verdicts = {  # "same gene as" one of the store's has that one's id already
        gate: verdict
        if gate == "unique" and candidate.gene.hash in had
        else replace(verdict, reason=renamed(verdict.reason))
        for gate, verdict in candidate.verdicts.items()
    }
    return replace(
        candidate,
        id=renamed(candidate.id),
        origin=replace(candidate.origin, round=number),
        place=None,
        selection=candidate.selection and replace(candidate.selection, rank=None),
        verdicts=verdicts,
    )
