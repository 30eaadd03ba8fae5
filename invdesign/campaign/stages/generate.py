"""Genes from generators, in units of work; with screened formulas, how many genes each formula gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.progress import Clock
from invdesign.core.candidate import Candidate
from invdesign.core.target import Target
from invdesign.errors import InputError
from invdesign.generators.registry import Generator
from invdesign.io.parallel import one_thread

# of 51 held-out stable compounds, the gene was among the first 8, 16, 32, 64, 128 drawn for their formula
# for 33, 37, 53, 59, 65 %
GENES_PER_FORMULA = 32
"""Least number of genes per formula."""


@dataclass(frozen=True)
class GenerateUnit:
    """Genes to be generated in one process.

    Attributes:
        config: the campaign.
        components: what it is made of.
        number: of the unit; part of the seed.
        generator: name of the generator.
        first: number of the first gene in the campaign.
        n: genes.
        formulas: formula and number of genes of each; empty: any formula.
    """

    config: CampaignConfig
    components: Components
    number: int
    generator: str
    first: int
    n: int
    formulas: tuple[tuple[str, int], ...] = ()


def generate_units(config: CampaignConfig, components: Components) -> list[GenerateUnit]:
    """Split a campaign's genes into units, in order: generators take turns, each with an equal share."""
    names = list(components.generators)
    totals = [config.n_genes // len(names) + (i < config.n_genes % len(names)) for i in range(len(names))]
    turns = [
        (name, n := min(config.gene_batch, total - start), shares(config.formulas, start, n, total))
        for start in range(0, max(totals), config.gene_batch)
        for name, total in zip(names, totals, strict=True)
        if start < total
    ]
    firsts = accumulate((n for _, n, _ in turns), initial=0)
    return [
        GenerateUnit(config, components, number, name, first, n, formulas)
        for number, ((name, n, formulas), first) in enumerate(zip(turns, firsts, strict=False))
    ]


def generate(unit: GenerateUnit) -> tuple[list[Candidate], Clock]:
    """Generate the genes of one unit; the seed is (campaign seed, unit number, index of the formula)."""
    config, clock = unit.config, Clock()
    seed: tuple[int, ...] = (config.seed, unit.number)
    prompts = [
        (config.target.with_formula(formula), n, (*seed, index))
        for index, (formula, n) in enumerate(unit.formulas)
    ] or [(config.target, unit.n, seed)]
    with one_thread(), clock.stage("generator"):
        generator = unit.components.generator_called(unit.generator)
        candidates = [candidate for prompt in prompts for candidate in generator.propose(*prompt)]
    for i, candidate in enumerate(candidates):
        candidate.id = f"c{unit.first + i:06d}"
        candidate.origin = replace(candidate.origin, generator=unit.generator, batch=unit.number)
    return candidates, clock


def shares(formulas: Sequence[str], first: int, n: int, total: int) -> tuple[tuple[str, int], ...]:
    """Formulas of the genes ``first`` to ``first + n`` of a generator's ``total``, with how many of each.

    Every formula has an equal, contiguous share of the genes: genes drawn in one call do not repeat.
    """
    turns = Counter(i * len(formulas) // total for i in range(first, first + n)) if formulas else Counter()
    return tuple((formulas[turn], count) for turn, count in turns.items())


def meetable(
    generators: Mapping[str, Generator], target: Target, formulas: Sequence[str], seed: int = 0
) -> tuple[list[str], Counter[str]]:
    """Find the formulas, reduced, for which every generator can make genes; count the others by reason.

    Raises:
        InputError: the target fixes the formula.
    """
    target.check_open()
    met: list[str] = []
    others: Counter[str] = Counter()
    for formula in formulas:
        reason = "the target allows none"
        try:
            narrowed = target.with_formula(formula)
            for name, generator in generators.items():
                reason = f"{name} can make none"
                generator.propose(narrowed, 1, seed)
        except InputError:
            others[reason] += 1
        else:
            met.append(str(narrowed.formula))
    return met, others
