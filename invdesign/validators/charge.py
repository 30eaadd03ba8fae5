"""Charge balance: an assignment of oxidation states, or the reason why there is none.

The rules and the oxidation states are smact's (``smact_validity`` with :data:`CHARGE_OPTIONS`), and so is
the verdict; the search is ours (:mod:`invdesign.data.oxidation`) and also finds the likeliest assignment.

An assignment is valid if the charges cancel and every cation is less electronegative than every anion, so
that each element is wholly positive or wholly negative. States are those with at least three reports in
the ICSD. Fe, Cu, Eu and others (smact's list) may take several states in one compound, as in Fe3O4, where
one state each does not balance. All-metal compositions pass as intermetallics.

Measured on 6 000 Materials Project compositions within 0.05 eV/atom of the hull, and on as many with their
stoichiometries and element frequencies but shuffled elements: 94 % of the known pass (92 % of those that
are not all-metal), 35 % of the shuffled are rejected (47 %). The gate is kept permissive on purpose: with
only states of at least 1 % of an element's reports it would reject 56 % (75 %) of the shuffled, but lose
13 % (17 %) of the known; the verdict's figure, the share of the rarest state used, carries that
information on. Without mixed valence 90 % (87 %) of the known pass.

Where smact would try more than a million combinations it gives up and says no; this search does not need
to. Otherwise the verdicts are equal (tested).
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

from invdesign.candidate import Verdict
from invdesign.data.compositions import reduced_amounts
from invdesign.data.oxidation import (
    CHARGE_OPTIONS,
    Balance,
    charges_of,
    divisions,
    likeliest,
    oxidation_tables,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymatgen.core import Composition

    from invdesign.targets import Target

__all__ = ["CHARGE_OPTIONS", "GATE", "USUAL", "charge_balance", "charges_suit", "usual_charges"]

GATE = "charge balance"
USUAL = 0.01
"""Share of an element's ICSD reports from which on an oxidation state is usual."""


def usual_charges(composition: Composition | Mapping[str, float] | str) -> bool:
    """Whether a composition balances by usual states alone, or is an intermetallic.

    Of 4 000 crystals of the Materials Project 97 % of those with a gap of 2.5 to 3.5 eV do (98 % of 4 to 6,
    91 % of 1 to 2), but 74 % of what a generator proposed under the permissive rule alone.

    Raises:
        InputError: not a formula, or amounts in no ratio of small whole numbers.
    """
    verdict = charge_balance(composition)
    return verdict.passed and (verdict.figure is None or verdict.figure >= USUAL)


def charge_balance(
    composition: Composition | Mapping[str, float] | str,
    *,
    intermetallics: bool = True,
    mixed_valence: bool = True,
) -> Verdict:
    """Judge whether a composition can be charge neutral.

    Args:
        composition: formula or amounts; a multiple of a formula gets the formula's verdict.
        intermetallics: pass compositions of metals only, to which no charge balance applies.
        mixed_valence: let the elements of smact's list take several states in one compound.

    Returns:
        The verdict; its reason names the likeliest oxidation states or what prevents any, its figure is
        the share of ICSD reports of its rarest state.

    Raises:
        InputError: not a formula, or amounts in no ratio of small whole numbers.
    """
    amounts = reduced_amounts(composition)
    tables = oxidation_tables()
    if len(amounts) == 1:
        return Verdict(GATE, passed=True, reason="a single element: no charge balance applies")
    if intermetallics and amounts.keys() <= tables.metals:
        return Verdict(
            GATE, passed=True, reason="intermetallic: all elements are metals, no charge balance applies"
        )
    stateless = [element for element in amounts if element not in tables.states]
    if stateless:
        return Verdict(
            GATE, passed=False, reason=f"no oxidation state of {', '.join(stateless)} is known (ICSD)"
        )
    unscaled = [element for element in amounts if element not in tables.electronegativity]
    if unscaled:
        return Verdict(GATE, passed=False, reason=f"{', '.join(unscaled)} has no Pauling electronegativity")
    for mixed in (False, True) if mixed_valence and amounts.keys() & tables.mixed else (False,):
        found = likeliest(divisions(amounts), amounts, mixed=mixed)
        if found:
            share = min(tables.states[element][state] for element, ions in found.states for state, _ in ions)
            text = f"{found}, mixed valence" if mixed else str(found)
            return Verdict(GATE, passed=True, reason=text, figure=round(math.exp(share), 6))
    return Verdict(GATE, passed=False, reason=_reason(amounts))


def charges_suit(composition: Composition | Mapping[str, float] | str, target: Target) -> bool:
    """Whether charges do for a target: any do for a formula that is asked for, usual ones for a gap.

    Raises:
        InputError: not a formula, or amounts in no ratio of small whole numbers.
    """
    gap = target.windows.get("band_gap")
    if target.formula is not None:
        return True
    if gap is not None and gap.low > 0:
        return usual_charges(composition)
    return charge_balance(composition).passed


def _reason(amounts: Mapping[str, int]) -> str:
    """Why nothing balances: only against the order of electronegativity, or how far off the nearest is."""
    mixed = bool(amounts.keys() & oxidation_tables().mixed)
    elements = list(amounts)
    every_way = (
        ([e for e in elements if e in cations], [e for e in elements if e not in cations])
        for size in range(1, len(elements))
        for cations in combinations(elements, size)
    )
    against = likeliest(every_way, amounts, mixed=mixed) if len(elements) <= _MOST_DIVIDED else None
    if against:
        return f"neutral only as {against}, against the order of electronegativities"
    gaps = []
    for cations, anions in divisions(amounts):
        positive = charges_of(cations, amounts, sign=1, mixed=mixed)
        negative = charges_of(anions, amounts, sign=-1, mixed=mixed)
        gaps += [
            (abs(p - n), -ions.score - others.score, p - n, Balance(0.0, ions.states + others.states))
            for p, ions in positive.items()
            for n, others in negative.items()
        ]
    if not gaps:
        return "no element can be the cation or none the anion, by their known states and electronegativities"
    _, _, charge, nearest = min(gaps)
    return f"no states are neutral: the nearest, {nearest}, leave {charge:+d} on {_formula(amounts)}"


_MOST_DIVIDED = 6  # elements whose every division into cations and anions is tried for the reason


def _formula(amounts: Mapping[str, int]) -> str:
    return "".join(f"{element}{number if number > 1 else ''}" for element, number in amounts.items())
