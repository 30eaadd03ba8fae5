"""Gates on the gene alone, before any structure exists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.progress import Clock
from invdesign.campaign.stages.gates import Context, GateFunction, apply_gates
from invdesign.core.candidate import Candidate
from invdesign.crystal.gene import Gene
from invdesign.filters.charge_balance import suits
from invdesign.filters.novelty import novelty_wanted
from invdesign.verdict import Verdict


def filter_genes(
    config: CampaignConfig, components: Components, candidates: Sequence[Candidate], seen: Mapping[str, str]
) -> Clock:
    """Put genes through the gates that need no structure; survivors get estimates from their gene.

    Args:
        config: the campaign.
        components: what it is made of.
        candidates: of one unit, in order of id.
        seen: id by hash of all earlier genes; of equal genes the first passes.
    """
    clock = Clock()
    alive = apply_gates(GATE_FUNCTIONS, candidates, Context(config, components, dict(seen)), clock)
    with clock.stage("pre-ranking"):
        estimates = components.gene_estimates([candidate.gene for candidate in alive], config.target)
        for candidate, estimate in zip(alive, estimates, strict=True):
            candidate.properties = dict(estimate)
    return clock


def first_of_genes(candidates: Iterable[Candidate]) -> dict[str, str]:
    """Id by gene hash of the candidates that were the first with their gene."""
    return {c.gene.hash: c.id for c in candidates if "unique" in c.verdicts and c.verdicts["unique"].passed}


def in_target(candidates: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Compare genes with the target and with the elements that the components support."""
    elements = context.components.elements
    return [_in_target(candidate.gene, context.config, elements) for candidate in candidates]


def _in_target(gene: Gene, config: CampaignConfig, elements: frozenset[str]) -> Verdict:
    if unknown := sorted(set(gene.elements) - elements):
        reason = f"potential, calibration or hull do not know it: {', '.join(unknown)}"
        return Verdict("target", passed=False, reason=reason)
    if not gene.realisable:
        return Verdict("target", passed=False, reason="two atoms on one point")
    if len(set(gene.elements)) == 1 and not config.asks_for_elements:
        return Verdict("target", passed=False, reason="a pure element: none was asked for by name")
    if config.formulas and gene.formula not in config.formulas:
        return Verdict("target", passed=False, reason=f"none of the formulas: {gene.formula}")
    return config.target.allows(gene)


def charge_balanced(candidates: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Find the likeliest oxidation states of each composition."""
    config = context.config
    found = [suits(candidate.gene.composition, config.target) for candidate in candidates]
    # a formula that is asked for is judged by its user
    return [replace(verdict, passed=True) for verdict in found] if config.formulas else found


def unique(candidates: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Pass the first candidate of each gene."""
    verdicts = []
    for candidate in candidates:
        first = context.owners.setdefault(candidate.gene.hash, candidate.id)
        passed = first == candidate.id
        reason = "first with this gene" if passed else f"same gene as an earlier one: {first}"
        verdicts.append(Verdict("unique", passed, reason))
    return verdicts


def novel(candidates: Sequence[Candidate], context: Context) -> list[Verdict]:
    """Compare genes with those of known materials."""
    config = context.config
    verdicts = [context.components.get("known").novelty(candidate.gene) for candidate in candidates]
    return [
        replace(verdict, passed=novelty_wanted(verdict, config.novelty, named=config.names_formulas))
        for verdict in verdicts
    ]


GATE_FUNCTIONS: dict[str, GateFunction] = {
    "target": in_target,
    "charge balance": charge_balanced,
    "unique": unique,
    "novelty": novel,
}
