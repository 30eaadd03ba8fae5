"""Surrogate pre-ranking: which genes are worth a relaxation, by models that see the gene alone."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.progress import Clock
from invdesign.campaign.ranking import gene_worth, hit_probability, select
from invdesign.campaign.stages.filter import filter_genes, first_of_genes
from invdesign.campaign.stages.gates import Context, GateFunction, apply_gates
from invdesign.campaign.stages.generate import generate, generate_units
from invdesign.core.candidate import Candidate
from invdesign.core.target import Target
from invdesign.filters.charge_balance import suits
from invdesign.filters.novelty import Novelty, Wanted, novelty_wanted
from invdesign.verdict import Verdict

CLEARLY_NEW = 0.05
"""Share of survivors of known composition that lie clearly below what is known of it (2 of 41)."""


def prerank(config: CampaignConfig, components: Components, candidates: Sequence[Candidate]) -> Clock:
    """Select the genes to relax and record their order.

    Each generator's candidates are ranked among themselves; the selected carry their place, from 0.
    """
    clock = Clock()
    alive: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.alive:
            alive.setdefault(candidate.origin.generator, []).append(candidate)
    for group in alive.values():
        apply_gates(GATE_FUNCTIONS, group, Context(config, components), clock)
    return clock


def likely_hits(alive: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Pass the likeliest hits of one generator's candidates, in diversity, and number them."""
    config, verdicts = context.config, []
    scores = [
        gene_worth(candidate.properties, candidate.gene, config.target) * _listed(candidate, config)
        for candidate in alive
    ]
    # formulas that a screening selected are all to be tried
    per_formula = ceil(config.n_relax / len(config.formulas)) if config.formulas else 3
    chosen = select(
        [candidate.gene for candidate in alive],
        scores,
        config.n_relax,
        per_formula=per_formula,
        per_prototype=max(3, config.n_relax // 10),
    )
    places = {index: place for place, index in enumerate(chosen)}
    worst = min((scores[index] for index in chosen), default=0.0)
    for i, (candidate, score) in enumerate(zip(alive, scores, strict=True)):
        if i in places:
            candidate.place = places[i]
            reason = f"{score:.1%} likely a hit, number {places[i] + 1} of {len(alive)}"
        elif score >= worst:
            reason = f"enough others of its formula or prototype ({score:.1%} likely a hit)"
        else:
            reason = f"others are likelier hits ({score:.1%} against {worst:.1%} at least)"
        verdicts.append(Verdict("pre-ranking", i in places, reason, score, worst))
    return verdicts


def _listed(candidate: Candidate, config: CampaignConfig) -> float:
    """Return how often a hit of its composition is listed, relative to one of a new composition."""
    known = candidate.verdicts["novelty"].value != Novelty.NEW
    return CLEARLY_NEW if known and config.only_clearly_new else 1.0


def worth_relaxing(config: CampaignConfig, components: Components) -> list[Candidate]:
    """Find what a campaign would relax, without its store, in order of id.

    Of several generators, each one's best ``n_relax``: as if the others yielded nothing.
    """
    candidates: list[Candidate] = []
    seen: dict[str, str] = {}
    for unit in generate_units(config, components):
        proposed, _ = generate(unit)
        filter_genes(config, components, proposed, seen)
        seen |= first_of_genes(proposed)
        candidates += proposed
    prerank(config, components, candidates)
    return [candidate for candidate in candidates if candidate.place is not None]


def select_likeliest(
    candidates: Sequence[Candidate], target: Target, n: int, novelty: Wanted = "new"
) -> list[Candidate]:
    """Select the ``n`` likeliest hits by pre-ranking, in the order given.

    Genes that are not as new as asked for, or whose charges do not suit the target, come last, and repeats
    after them; where new ones are asked for, those of known composition come after new compositions. No
    formula or prototype takes more than a tenth while others are left.
    """
    components = Components()
    known = components.get("known")
    genes = [candidate.gene for candidate in candidates]
    scores, seen = [], set[str]()
    for gene, estimates in zip(genes, components.gene_estimates(genes, target), strict=True):
        if gene.hash in seen:
            scores.append(-2.0)
            continue
        seen.add(gene.hash)
        found = known.novelty(gene)
        wanted = novelty_wanted(found, novelty, named=target.formula is not None)
        if not wanted or not suits(gene.composition, target).passed:
            scores.append(-1.0)
        else:
            first = novelty == "new" and found.value == Novelty.NEW
            scores.append(hit_probability(estimates, target) + first)
    most = max(3, n // 10)
    chosen = select(genes, scores, n, per_formula=most, per_prototype=most)
    return [candidates[i] for i in sorted(chosen)]


GATE_FUNCTIONS: dict[str, GateFunction] = {"pre-ranking": likely_hits}
