"""Charge balance: the likeliest oxidation states with their word, or the reason why there are none.

By default :func:`~invdesign.composition.assignment.assignment` decides: ``none`` fails, and where a gap is
asked for only ``usual`` passes. With :class:`ChargeRules` the rules, the states and the verdict are smact's
(``smact_validity``); the search is ours (:mod:`invdesign.composition.oxidation_states`).
:mod:`invdesign.filters.charge_balance_batch` checks many compositions.

By smact's rules an assignment is valid if the charges cancel and every cation is less electronegative than
every anion. Where smact would try more than a million combinations it gives up and says no, and it drops
the fractions of amounts; :class:`ChargeRules` has both by name. Otherwise the verdicts are equal (tested).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from invdesign.composition.assignment import Assignment, assignment
from invdesign.composition.formula import reduced_amounts, truncated_amounts
from invdesign.composition.oxidation_states import (
    Balance,
    ChargeRules,
    OxidationTables,
    charges_of,
    divisions,
    likeliest,
    oxidation_tables,
)
from invdesign.composition.state_likelihood import POSSIBLE
from invdesign.core.target import Target
from invdesign.core.target_parser import spelled
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Composition

GATE = "charge balance"
LIKELY = 0.06
"""Likelihood of states that a crystal with a gap must have, as 86 % have at a PBE gap of 1 to 2 eV."""
LIKELY_BESIDE_SEVERAL = 0.012
"""The same where anions are of several kinds: shares are counted beside the most electronegative one, next to
which copper in LaCuOS is no neighbour. 91 % of 219 such crystals with a gap have it, 93 % of 1 956 others the
first."""
_KINDS = ({"O"}, {"F", "Cl", "Br", "I"}, {"S", "Se", "Te"}, {"N", "P", "As", "Sb"})


def usual_charges(composition: Composition | Mapping[str, float] | str) -> bool:
    """Whether the likeliest oxidation states of a composition are usual, or it is of metals alone.

    Raises:
        InputError: not a formula, or amounts in no ratio of small whole numbers.
    """
    return assignment(composition).word == "usual"


def charge_balance(
    composition: Composition | Mapping[str, float] | str, rules: ChargeRules | None = None
) -> Verdict:
    """Check whether a composition can be charge neutral.

    Args:
        composition: formula or amounts; a multiple of a formula gets the formula's verdict.
        rules: smact's, in place of the likelihood.

    Returns:
        The verdict. Its reason begins with ``usual``, ``unusual`` or ``none`` and names the likeliest
        oxidation states; its value is their likelihood. By smact's rules the reason names the likeliest
        states or what prevents any; the value is the share of ICSD reports of the rarest.

    Raises:
        InputError: not a formula, or amounts in no ratio of small whole numbers.
    """
    if rules is None:
        return assignment_verdict(assignment(composition))
    amounts = (truncated_amounts if rules.truncate_fractions else reduced_amounts)(composition)
    tables = oxidation_tables(rules)
    if len(amounts) == 1:
        return Verdict(GATE, passed=True, reason="a single element: no charge balance applies")
    if rules.include_alloys and amounts.keys() <= tables.metals:
        return Verdict(
            GATE, passed=True, reason="intermetallic: all elements are metals, no charge balance applies"
        )
    if rules.check_metallicity and (score := _metallicity(amounts)) >= rules.metallicity_threshold:
        reason = f"metallic: smact's metallicity score {score:.2f}, no charge balance applies"
        return Verdict(GATE, passed=True, reason=reason)
    stateless = [element for element in amounts if element not in tables.states]
    if stateless:
        return Verdict(
            GATE, passed=False, reason=f"no oxidation state of {', '.join(stateless)} is known (ICSD)"
        )
    unscaled = [element for element in amounts if element not in tables.electronegativity]
    if rules.use_pauling_test and unscaled:
        return Verdict(GATE, passed=False, reason=f"{', '.join(unscaled)} has no Pauling electronegativity")
    for mixed in (False, True) if _may_mix(amounts, tables, rules) else (False,):
        found = likeliest(tables, amounts, mixed=mixed, ordered=rules.use_pauling_test)
        if found:
            text = f"{found}, mixed valence" if mixed else str(found)
            return Verdict(GATE, passed=True, reason=text, value=rarest_share(tables, found))
    return Verdict(GATE, passed=False, reason=_reason(amounts, tables, rules))


def assignment_verdict(found: Assignment) -> Verdict:
    """Return the verdict on an assignment: ``none`` fails."""
    reason = {
        "element": "a single element, no charges to balance",
        "metals": "metals alone, no charges to balance",
        "clusters": f"{found}, with electrons in bonds between metals or cations",
        "ions": f"{found}, mixed valence" if found.mixed else str(found),
        "none": "no oxidation states are neutral",
    }[found.kind]
    return Verdict(
        GATE, found.word != "none", f"{found.word}: {reason}", round(found.likelihood, 6), POSSIBLE
    )


def suits(composition: Composition | Mapping[str, float] | str, target: Target) -> Verdict:
    """Check charges for a target: any do for a formula that is asked for, likely ions for a gap.

    Raises:
        InputError: not a formula, or amounts in no ratio of small whole numbers.
    """
    found = assignment(composition)
    verdict = assignment_verdict(found)
    if target.formula is not None:
        return replace(verdict, passed=True)
    if target.wants_gap:
        anions = {element for element, states in found.states if any(state < 0 for state, _ in states)}
        several = sum(not anions.isdisjoint(kind) for kind in _KINDS) > 1
        least = LIKELY_BESIDE_SEVERAL if several else LIKELY
        return replace(verdict, passed=found.likelihood >= least and found.kind != "metals", threshold=least)
    return verdict


def rarest_share(tables: OxidationTables, balance: Balance) -> float:
    """Share of an element's ICSD reports of the rarest state that a set of ions uses."""
    rarest = min(tables.states[element][state] for element, ions in balance.states for state, _ in ions)
    return round(math.exp(rarest), 6)


def _metallicity(amounts: Mapping[str, int]) -> float:
    from pymatgen.core import Composition
    from smact.metallicity import metallicity_score

    return metallicity_score(Composition(amounts))


def _may_mix(amounts: Mapping[str, int], tables: OxidationTables, rules: ChargeRules) -> bool:
    if not rules.mixed_valence or not amounts.keys() & tables.mixed:
        return False
    products = math.prod(
        len(tables.states[element]) ** (atoms if element in tables.mixed else 1)
        for element, atoms in amounts.items()
    )
    return rules.mixed_valence_combinations is None or products <= rules.mixed_valence_combinations


def _reason(amounts: Mapping[str, int], tables: OxidationTables, rules: ChargeRules) -> str:
    """Why nothing balances: only against the order of electronegativity, or how far off the nearest is."""
    mixed = _may_mix(amounts, tables, rules)
    against = likeliest(tables, amounts, mixed=mixed, ordered=False) if rules.use_pauling_test else None
    if against:
        return f"neutral only as {against}, against the order of electronegativities"
    gaps = []
    splits = divisions(tables, amounts) if rules.use_pauling_test else [(sorted(amounts), [])]
    for cations, anions in splits:
        sign = 1 if rules.use_pauling_test else 0
        positive = charges_of(tables, cations, amounts, sign=sign, mixed=mixed)
        negative = charges_of(tables, anions, amounts, sign=-sign, mixed=mixed)
        gaps += [
            (abs(p - n), -ions.score - others.score, p - n, Balance(0.0, ions.states + others.states))
            for p, ions in positive.items()
            for n, others in negative.items()
        ]
    if not gaps:
        return "no element can be the cation or none the anion, by their known states and electronegativities"
    _, _, charge, nearest = min(gaps)
    return f"no states are neutral: the nearest, {nearest}, leave {charge:+d} on {spelled(amounts)}"
