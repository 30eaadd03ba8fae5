"""Gates that judge a gene alone, before any structure exists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.progress import Clock
from invdesign.core.candidate import Candidate
from invdesign.crystal.gene import Gene
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
    owners = dict(seen)
    known, elements = components.get("known"), components.elements
    gates: dict[str, Callable[[Candidate], Verdict]] = {
        "target": lambda c: _in_target(c.gene, config, elements),
        "charge balance": lambda c: _charge_balance(c.gene),
        "unique": lambda c: _first_of_its_gene(c, owners),
        "novelty": lambda c: novelty_verdict(c.gene, known, include_known=config.include_known),
    }
    alive = list(candidates)
    for gate, verdict in gates.items():
        with clock.stage(gate):
            alive = [candidate for candidate in alive if candidate.record(verdict(candidate))]
    with clock.stage("quick rank"):
        estimates = components.gene_estimates([candidate.gene for candidate in alive], config.target)
        for candidate, estimate in zip(alive, estimates, strict=True):
            candidate.properties = dict(estimate)
    return clock


def first_of_genes(candidates: Iterable[Candidate]) -> dict[str, str]:
    """Id by gene hash of the candidates that were the first with their gene."""
    return {c.gene.hash: c.id for c in candidates if "unique" in c.verdicts and c.verdicts["unique"].passed}


def novelty_verdict(gene: Gene, known: Any, *, include_known: bool) -> Verdict:  # noqa: ANN401 - a KnownMaterials
    """Compare a gene with the known ones; a known gene is rejected unless ``include_known``."""
    verdict: Verdict = known.novelty(gene)
    return replace(verdict, passed=False) if verdict.figure == 0 and not include_known else verdict


def _in_target(gene: Gene, config: CampaignConfig, elements: frozenset[str]) -> Verdict:
    if unknown := sorted(set(gene.elements) - elements):
        reason = f"potential, calibration or hull do not know it: {', '.join(unknown)}"
        return Verdict("target", passed=False, reason=reason)
    if not gene.realisable:
        return Verdict("target", passed=False, reason="two atoms on one point")
    if config.formulas and gene.formula not in config.formulas:
        return Verdict("target", passed=False, reason=f"none of the formulas: {gene.formula}")
    return config.target.allows(gene)


def _charge_balance(gene: Gene) -> Verdict:
    from invdesign.filters.charge_balance import charge_balance

    return charge_balance(gene.composition)


def _first_of_its_gene(candidate: Candidate, owners: dict[str, str]) -> Verdict:
    first = owners.setdefault(candidate.gene.hash, candidate.id)
    if first == candidate.id:
        return Verdict("unique", passed=True, reason="first with this gene")
    return Verdict("unique", passed=False, reason=f"same gene as an earlier one: {first}")
