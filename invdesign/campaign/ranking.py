"""Ranking of candidates: probability of a hit, trade-offs between goals, diversity.

A hit is a candidate whose properties all lie in their windows and that is stable; with calibrated,
independent estimates its probability is a product (``docs/concepts/ranking.md``: how well it holds). The list
is in the order of worth: that probability, times how likely such a compound is real. Diversity is greedy:
each selected candidate lowers the scores of similar ones, so that ten rows are not one compound ten times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, inf, prod
from typing import NamedTuple

import numpy as np

from invdesign.composition.solid_solutions import ordered_likelihood
from invdesign.core.candidate import Candidate, Estimate
from invdesign.core.target import STABILITY, Target, Window
from invdesign.crystal.elements import atomic_number, element_table
from invdesign.crystal.gene import Gene
from invdesign.filters.site_states import holds_others

SAME_GROUP = 0.6  # similarity of two elements of one group of the periodic table (same element: 1)
CHEMISTRY, PROTOTYPE, STOICHIOMETRY = 0.6, 0.25, 0.15  # weights of the similarity of two crystals; sum to 1
REALISED = 0.025
"""eV/atom: how reported compositions thin out above the hull beside generated ones (benchmarks/realised)."""
OTHER_STATES = 0.25
"""Of known crystals with a gap 1.1 % hold such states (n 567), of generated ones 4.4 % (n 451)."""
DISCOUNT = 0.9  # fraction of its score that a candidate of similarity 1 to a selected one loses


def window_probability(properties: Mapping[str, Estimate], windows: Mapping[str, Window]) -> float:
    """Probability that every property that has both a window and an estimate lies in its window."""
    return prod(properties[name].probability(windows[name]) for name in windows if name in properties)


def hit_probability(properties: Mapping[str, Estimate], target: Target) -> float:
    """Probability of a hit: every property in its window and E above hull under the threshold.

    A property without an estimate does not enter; the estimates count as independent.

    Args:
        properties: estimates by property name, of a candidate or of a gene before relaxation.
        target: the windows and the stability threshold, eV/atom.
    """
    return prod(goal_probabilities(properties, target).values())


def gene_worth(properties: Mapping[str, Estimate], gene: Gene, target: Target) -> float:
    """Probability of a hit, times how likely an ordered crystal of these elements is real.

    Genes are chosen by it. DFT, which knows no entropy either, tests the first factor alone.
    """
    return hit_probability(properties, target) * ordered_likelihood(gene.amounts)


def worth(candidate: Candidate, target: Target) -> float:
    """Worth of a relaxed candidate's gene, times how likely compounds at its energy above hull are real.

    That is exp(-E / ``REALISED``) above the hull, 1 below it; and for a gap ``OTHER_STATES`` where its
    structure holds other oxidation states than the likeliest of its composition. The shortlist is in this
    order.
    """
    above = candidate.properties[STABILITY].mean if STABILITY in candidate.properties else 0.0
    charges, held = (candidate.verdicts.get(gate) for gate in ("charge balance", "site states"))
    others = target.wants_gap and charges and held and holds_others(charges, held)
    found = gene_worth(candidate.properties, candidate.gene, target)
    return found * exp(-max(above, 0.0) / REALISED) * (OTHER_STATES if others else 1.0)


def goal_probabilities(properties: Mapping[str, Estimate], target: Target) -> dict[str, float]:
    """Probability of meeting each goal of a target that has an estimate: its windows, and stability."""
    windows = {**target.windows, STABILITY: Window(-inf, target.e_above_hull_max)}
    return {
        name: properties[name].probability(window) for name, window in windows.items() if name in properties
    }


def pareto_ranks(goals: np.ndarray) -> np.ndarray:
    """Front of each candidate, from 1, by non-dominated sorting, (n,).

    A candidate is on the first front if no other is at least as likely to meet every goal and likelier to
    meet one; on the second if only candidates of the first are; and so on. Differences below a percent are
    none: at probabilities near 1 they would put everything on the first front.

    Args:
        goals: probability of meeting each goal, (n, goals).
    """
    percent = np.round(100 * goals)
    no_worse = (percent[:, None] >= percent[None]).all(axis=-1)
    # (n, n): row beats column
    beats = np.asarray(no_worse & (percent[:, None] > percent[None]).any(axis=-1))
    ranks = np.zeros(len(goals), dtype=int)
    while (left := ranks == 0).any():
        ranks[left & ~beats[left].any(axis=0)] = ranks.max() + 1
    return ranks


def select(
    genes: Sequence[Gene], scores: Sequence[float], n: int, *, per_formula: int, per_prototype: int
) -> list[int]:
    """Return the indices of the ``n`` best genes, best first, with caps per formula and prototype.

    When the caps leave places over, the best of the capped ones fill them. Ties go to the lower index.

    Args:
        genes: the genes to choose from.
        scores: one for each, higher is better.
        n: how many to choose (fewer are returned when there are fewer).
        per_formula: most genes of one reduced formula.
        per_prototype: most genes of one space group and set of Wyckoff letters.
    """
    order = sorted(range(len(genes)), key=lambda i: (-scores[i], i))
    taken: dict[tuple[str, str], int] = {}
    chosen, capped = [], []
    for i in order:
        formula, prototype = ("formula", genes[i].formula), ("prototype", genes[i].prototype)
        if taken.get(formula, 0) < per_formula and taken.get(prototype, 0) < per_prototype:
            taken[formula] = taken.get(formula, 0) + 1
            taken[prototype] = taken.get(prototype, 0) + 1
            chosen.append(i)
        else:
            capped.append(i)
    kept = set(chosen[:n]) | set(capped[: max(0, n - len(chosen))])
    return [i for i in order if i in kept]


class _Traits(NamedTuple):
    formula: str
    prototype: str
    anonymous: str
    amounts: np.ndarray  # (2, 104): atomic fractions by element; by group of the periodic table


def _traits(gene: Gene) -> _Traits:
    groups = element_table()["group"].astype(int)
    amounts = np.zeros((2, len(groups)))
    for symbol, fraction in gene.composition.fractional_composition.get_el_amt_dict().items():
        number = atomic_number(symbol)
        amounts[0, number] += fraction
        amounts[1, groups[number]] += fraction
    return _Traits(gene.formula, gene.prototype, gene.anonymous_formula, amounts)


def similarity(a: Gene, b: Gene) -> float:
    """Return the similarity of two crystals, 0 to 1; 1 for the same reduced formula."""
    return _similarity(_traits(a), _traits(b))


def _similarity(a: _Traits, b: _Traits) -> float:
    if a.formula == b.formula:
        return 1.0
    same_element, same_group = np.minimum(a.amounts, b.amounts).sum(axis=1)
    chemistry = same_element + SAME_GROUP * max(0.0, same_group - same_element)
    return float(
        CHEMISTRY * chemistry
        + PROTOTYPE * (a.prototype == b.prototype)
        + STOICHIOMETRY * (a.anonymous == b.anonymous)
    )


def shortlist(candidates: Sequence[Candidate], target: Target, n: int) -> list[Candidate]:
    """Select the ``n`` best candidates that differ from one another, the one of most worth first.

    Each step selects the candidate with the highest ``worth`` times
    ``1 - DISCOUNT × similarity`` to the nearest one already selected (maximal marginal relevance,
    Carbonell and Goldstein 1998). Equal scores go to the lower id: the order of ``candidates`` is immaterial.
    """
    pool = sorted(candidates, key=lambda c: c.id)
    scores = np.array([worth(c, target) for c in pool])
    traits = [_traits(c.gene) for c in pool]
    nearest = np.zeros(len(pool))
    picks: list[int] = []
    while len(picks) < min(n, len(pool)):
        discounted = scores * (1 - DISCOUNT * nearest)
        discounted[picks] = -1.0
        best = int(np.argmax(discounted))
        picks.append(best)
        nearest = np.maximum(nearest, [_similarity(traits[best], other) for other in traits])
    return [pool[i] for i in sorted(picks, key=lambda i: (-scores[i], i))]
