"""Extension of a campaign that has results: a second campaign whose candidates join the store."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from invdesign.campaign.active_learning.correction import Corrections, fit_corrections
from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.run import DATABASE, design
from invdesign.campaign.stages.filter import first_of_genes
from invdesign.campaign.stages.predict import estimate_missing
from invdesign.campaign.store import Store
from invdesign.core.candidate import Candidate, Estimate
from invdesign.crystal.gene import Gene
from invdesign.errors import InputError

FOLDER = "more"


@dataclass(frozen=True)
class CorrectedRanker:
    """A campaign's ranker with corrected estimates.

    The widths of its intervals stay: the correction is fitted to the models for relaxed crystals.
    """

    ranker: Any
    corrections: Corrections
    name: str

    def predict(self, genes: Sequence[Gene]) -> list[dict[str, Estimate]]:
        """Predict as the ranker does, with the correction."""
        return self.corrections.correct_rows(
            Components(ranker=self.ranker).get("ranker").predict(genes), widths=False
        )


def extend(
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
    """Run a campaign in ``out/more`` with corrected pre-ranking, and add its candidates to the store.

    Killed at any moment, the same call resumes. The seed follows from the campaign's seed and the round.

    Args:
        store: of the finished campaign.
        config: its config, with the genes and relaxations of this round.
        components: its components.
        number: of the round.
        out: the round's folder.
        name: of the results that the correction is fitted to.
        executor: takes the relaxations.
        progress: show the live funnel on stderr.
    """
    before = [candidate for candidate in store.read() if candidate.origin.round != number]
    if len(before) < len(store):  # added already, in one transaction
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
        # the round applies the checks, to its own selection
        config.model_copy(update={"out": out / FOLDER, "seed": seed, "check": ()}),
        components=replace(
            components, ranker=CorrectedRanker(components.ranker, fit_corrections(computed), name)
        ),
        executor=executor,
        progress=progress,
        had=had,
    )
    first = len(store)
    store.put([_joined(candidate, first, number, had) for candidate in result.candidates], complete=True)


def _genes_of(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Return ids by gene hash, of genes as proposed and as relaxed."""
    proposed = {
        Gene.parse(candidate.relaxation.proposed_gene).hash: candidate.id
        for candidate in candidates
        if candidate.relaxation is not None
    }
    return proposed | first_of_genes(candidates)


def _joined(candidate: Candidate, first: int, number: int, had: Mapping[str, str]) -> Candidate:
    """Return a candidate for the store: ids continue those of the campaign, the rank is dropped."""

    def renamed(text: str) -> str:
        return re.sub(r"\bc(\d{6,})\b", lambda found: f"c{first + int(found[1]):06d}", text)

    verdicts = {  # "same gene as" a stored candidate names its id already
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
