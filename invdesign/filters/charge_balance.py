"""Charge balance: an assignment of oxidation states, or the reason why there is none.

The rules and the oxidation states are smact's (``smact_validity``; :class:`ChargeRules` has its arguments),
and so is the verdict; the search is ours (:mod:`invdesign.composition.oxidation_states`) and also finds the
likeliest assignment. :mod:`invdesign.filters.charge_balance_batch` checks many compositions by the same
rules.

An assignment is valid if the charges cancel and every cation is less electronegative than every anion, so
that each element is wholly positive or wholly negative. States are those with at least three reports in
the ICSD. Fe, Cu, Eu and others (smact's list) may take several states in one compound, as in Fe3O4, where
one state each does not balance. All-metal compositions pass as intermetallics.

Measured on 6 000 Materials Project compositions within 0.05 eV/atom of the hull, and on as many with their
stoichiometries and element frequencies but shuffled elements: 94 % of the known pass (92 % of those that
are not all-metal), 35 % of the shuffled are rejected (47 %). The gate is kept permissive on purpose: with
only states of at least 1 % of an element's reports it would reject 56 % (75 %) of the shuffled, but lose
13 % (17 %) of the known; the verdict's value, the share of the rarest state used, carries that
information on. Without mixed valence 90 % (87 %) of the known pass.

Where smact would try more than a million combinations it gives up and says no, and it drops the fractions
of amounts; :class:`ChargeRules` has both by name. Otherwise the verdicts are equal (tested).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING

from invdesign.composition.formula import reduced_amounts, truncated_amounts
from invdesign.composition.oxidation_states import (
    Balance,
    ChargeRules,
    OxidationTables,
    States,
    charge_options,
    charges_of,
    divisions,
    likeliest,
    oxidation_tables,
    states_of,
)
from invdesign.core.target import Target
from invdesign.core.target_parser import spelled
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from pymatgen.core import Composition

__all__ = ["GATE", "USUAL", "assignments", "charge_balance", "charges_suit", "usual_charges"]

GATE = "charge balance"
USUAL = 0.01
"""Share of an element's ICSD reports from which on an oxidation state is usual."""
_DEFAULT = ChargeRules()


def usual_charges(composition: Composition | Mapping[str, float] | str) -> bool:
    """Whether a composition balances by usual states alone, or is an intermetallic.

    Of 4 000 crystals of the Materials Project 97 % of those with a gap of 2.5 to 3.5 eV do (98 % of 4 to 6,
    91 % of 1 to 2), but 74 % of what a generator proposed under the permissive rule alone.

    Raises:
        InputError: not a formula, or amounts in no ratio of small whole numbers.
    """
    verdict = charge_balance(composition)
    return verdict.passed and (verdict.value is None or verdict.value >= USUAL)


def charge_balance(
    composition: Composition | Mapping[str, float] | str, rules: ChargeRules = _DEFAULT
) -> Verdict:
    """Check whether a composition can be charge neutral.

    Args:
        composition: formula or amounts; a multiple of a formula gets the formula's verdict.
        rules: which states, and what else counts.

    Returns:
        The verdict; its reason names the likeliest oxidation states or what prevents any, its value is
        the share of ICSD reports of its rarest state.

    Raises:
        InputError: not a formula, or amounts in no ratio of small whole numbers.
    """
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


def assignments(
    composition: Composition | Mapping[str, float] | str,
    rules: ChargeRules = _DEFAULT,
    most: int = 1000,
) -> list[Balance]:
    """Every neutral set of ions, most probable first, those of one state an element before mixed valence.

    Args:
        composition: formula or amounts.
        rules: which states, and whether they must follow electronegativity or may mix.
        most: of each kind, the most probable so many; of one element's mixtures too large a number
            (beyond 5 000) is cut to the likeliest of each total charge.

    Raises:
        InputError: not a formula, or amounts in no ratio of small whole numbers.
    """
    amounts = (truncated_amounts if rules.truncate_fractions else reduced_amounts)(composition)
    tables = oxidation_tables(rules)
    scale = tables.electronegativity
    usable = tables.states.keys() & scale.keys() if rules.use_pauling_test else tables.states.keys()
    if not amounts.keys() <= usable:
        return []
    found: dict[frozenset[tuple[str, States]], Balance] = {}
    for mixed in (False, True) if _may_mix(amounts, tables, rules) else (False,):
        if rules.use_pauling_test:
            splits = [((1, cations), (-1, anions)) for cations, anions in divisions(tables, amounts)]
        else:
            splits = [((0, sorted(amounts)), (0, []))]
        sums: list[Balance] = []
        for (sign, some), (other, rest) in splits:
            positive = _every_sum(tables, some, amounts, sign, most, mixed=mixed)
            negative = _every_sum(tables, rest, amounts, other, most, mixed=mixed)
            for charge in positive.keys() & negative.keys():
                pairs = product(positive[charge], negative[charge])
                sums += [Balance(p.score + n.score, p.states + n.states) for p, n in pairs]
        for one in sorted(sums, key=_by_score)[:most]:
            found.setdefault(frozenset(one.states), one)
    return list(found.values())


def rarest_share(tables: OxidationTables, balance: Balance) -> float:
    """Share of an element's ICSD reports of the rarest state that a set of ions uses."""
    rarest = min(tables.states[element][state] for element, ions in balance.states for state, _ in ions)
    return round(math.exp(rarest), 6)


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


def _every_sum(
    tables: OxidationTables,
    elements: Sequence[str],
    amounts: Mapping[str, int],
    sign: int,
    most: int,
    *,
    mixed: bool,
) -> dict[int, list[Balance]]:
    """As :func:`charges_of`, with the ``most`` likeliest sets of ions for each total charge."""
    total = {0: [Balance(0.0, ())]}
    for element in elements:
        several = mixed and element in tables.mixed
        longer: dict[int, list[Balance]] = {}
        for charge, (score, states) in _every_option(tables, element, amounts[element], sign, mixed=several):
            for so_far, sets in total.items():
                longer.setdefault(so_far + charge, []).extend(
                    Balance(balance.score + score, (*balance.states, (element, states))) for balance in sets
                )
        total = {charge: sorted(sets, key=_by_score)[:most] for charge, sets in longer.items()}
    return total


def _every_option(
    tables: OxidationTables, element: str, atoms: int, sign: int, *, mixed: bool
) -> list[tuple[int, tuple[float, States]]]:
    states = states_of(tables, element, sign)
    if not mixed or math.comb(atoms + len(states) - 1, atoms) > _MOST_MIXTURES:
        return list(charge_options(tables, element, atoms, sign, mixed=mixed).items())
    return [
        (
            sum(chosen) * (sign or 1),
            (
                sum(states[state] for state in chosen) / max(atoms, 1),
                tuple((state, chosen.count(state)) for state in dict.fromkeys(chosen)),
            ),
        )
        for chosen in combinations_with_replacement(sorted(states), atoms)
    ]


_MOST_MIXTURES = 5_000


def _by_score(balance: Balance) -> float:
    return -balance.score


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
