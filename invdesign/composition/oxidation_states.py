"""Oxidation states: which ions are known, by which rules they balance, and the likeliest that do.

The rules and the states are smact's, by its own names (:class:`ChargeRules`). Instead of trying every
product of states, the search adds up, element by element, the charges that can be reached.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from invdesign.errors import InputError

STATE_SETS = ("icsd24", "icsd16", "smact14", "pymatgen_sp", "wiki")
COMMONALITIES = ("low", "medium", "high", "main")
SMACT_COMBINATIONS = 1_000_000
_UNREPORTED = 0.5  # ICSD reports that a state of another set counts as where the ICSD has none


@dataclass(frozen=True, slots=True)
class ChargeRules:
    """What makes a composition neutral, in the words of ``smact.screening.smact_validity``.

    The first nine are smact's arguments and mean what they mean there (its ``mixed_valence`` is off by
    default, ours on). With the last two, the answer is smact's where the default differs on purpose.

    Attributes:
        oxidation_states_set: None for the ICSD states filtered by the next three; one of ``STATE_SETS``
            for smact's lists as they are; or a file of lines such as ``Fe 2 3``.
        consensus: ICSD reports from which on a state is known.
        include_zero: whether an element may stay neutral.
        commonality: ``low`` keeps every state, ``medium`` those with at least 10 % of the element's
            reports, ``high`` 50 %, ``main`` the most frequent; or a number of per cent.
        use_pauling_test: every cation less electronegative than every anion.
        include_alloys: compositions of metals alone pass.
        check_metallicity: those with a smact metallicity score from ``metallicity_threshold`` on pass.
        metallicity_threshold: between 0 and 1.
        mixed_valence: let the elements of smact's list take several states in one compound.
        mixed_valence_combinations: products of states beyond which mixed valence is not tried. smact
            gives up, and says no, beyond ``SMACT_COMBINATIONS``; this search need not (None).
        truncate_fractions: evaluate ``Li0.5CoO2`` as smact does, with no lithium atoms (it drops the
            fraction of every amount), rather than as LiCo2O4.

    Raises:
        InputError: no such commonality, or truncated amounts with a metallicity of the whole ones.
    """

    oxidation_states_set: str | None = None
    consensus: int = 3
    include_zero: bool = False
    commonality: str | float = "low"
    use_pauling_test: bool = True
    include_alloys: bool = True
    check_metallicity: bool = False
    metallicity_threshold: float = 0.7
    mixed_valence: bool = True
    mixed_valence_combinations: int | None = None
    truncate_fractions: bool = False

    def __post_init__(self) -> None:
        """Refuse what smact would refuse."""
        if isinstance(self.commonality, str) and self.commonality not in COMMONALITIES:
            raise InputError(
                f"commonality: {self.commonality!r} is none of {', '.join(COMMONALITIES)}; "
                "give one of them or a number of per cent."
            )
        for name, value, (least, most) in (
            ("commonality", 0.0 if isinstance(self.commonality, str) else self.commonality, (0, 100)),
            ("consensus", self.consensus, (0, 10**9)),
            ("metallicity_threshold", self.metallicity_threshold, (0, 1)),
        ):
            if not least <= value <= most:
                raise InputError(f"{name}: {value:g} is not within {least:g} to {most:g}; give one that is.")
        if self.truncate_fractions and self.check_metallicity:
            raise InputError(
                "truncate_fractions: smact scores the metallicity of the amounts before it truncates them, "
                "which are gone here; leave out one of the two."
            )


States = tuple[tuple[int, int], ...]  # (oxidation state, number of atoms) of one element


class Balance(NamedTuple):
    """A set of ions: their log likelihood, and the states of each element."""

    score: float
    states: tuple[tuple[str, States], ...]

    def __str__(self) -> str:
        """Return the ions as a chemist writes them: ``1 Fe2+ 2 Fe3+ O2-``."""
        ions = []
        for element, states in self.states:
            for state, atoms in sorted(states):
                amount = f"{atoms} " if len(states) > 1 else ""
                ions.append(f"{amount}{element}{abs(state)}{'+' if state > 0 else '-' if state else ''}")
        return " ".join(ions)


@dataclass(frozen=True, slots=True, eq=False)
class OxidationTables:
    """What smact knows of the elements.

    Attributes:
        reports: element → state → how often the ICSD has it.
        states: the same as logarithms of the share of the element's reports.
        electronegativity: Pauling's, of the elements that have one.
        metals: by smact's list.
        mixed: elements that may take several states in one compound, by smact's list.
    """

    reports: dict[str, dict[int, float]]
    states: dict[str, dict[int, float]]
    electronegativity: dict[str, float]
    metals: frozenset[str]
    mixed: frozenset[str]


_DEFAULT = ChargeRules()


def oxidation_tables(rules: ChargeRules = _DEFAULT) -> OxidationTables:
    """Return what smact knows, read once a set of states (2 s, most of it importing smact).

    Raises:
        InputError: the set of oxidation states is no set of smact's and no readable file.
    """
    return _tables(rules.oxidation_states_set, rules.consensus, rules.commonality, zero=rules.include_zero)


@lru_cache(maxsize=16)
def _tables(
    states_set: str | None, consensus: int, commonality: str | float, *, zero: bool
) -> OxidationTables:
    from smact import element_dictionary, metals
    from smact.screening import MIXED_VALENCE_ELEMENTS
    from smact.utils.oxidation import ICSD24OxStatesFilter

    elements = element_dictionary()
    icsd = ICSD24OxStatesFilter()
    frame = icsd.ox_states_df
    ions = zip(frame["element"], frame["oxidation_state"], strict=True)
    counts = dict(zip(ions, frame["results_count"], strict=True))
    if states_set is None:
        kept = icsd.filter(consensus=consensus, include_zero=zero, commonality=commonality)
        words = zip(kept["element"], kept["oxidation_state"], strict=True)
        listed = {element: [int(word) for word in str(own).split()] for element, own in words}
    else:
        listed = _listed(states_set, list(elements))
    reports = {
        element: {state: float(counts.get((element, state), 0.0)) or _UNREPORTED for state in own}
        for element, own in listed.items()
    }
    states = {
        element: {state: math.log(number / sum(own.values())) for state, number in own.items()}
        for element, own in reports.items()
    }
    scale = {
        symbol: float(element.pauling_eneg)
        for symbol, element in elements.items()
        if element.pauling_eneg is not None
    }
    return OxidationTables(reports, states, scale, frozenset(metals), MIXED_VALENCE_ELEMENTS)


def _listed(states_set: str, symbols: Sequence[str]) -> dict[str, list[int]]:
    """States by element of one of smact's sets, or of a file as smact reads it."""
    from smact import data_loader

    lookups = dict(zip(STATE_SETS, ("_icsd24", "_icsd", "", "_sp", "_wiki"), strict=True))
    if states_set in lookups:
        lookup = getattr(data_loader, f"lookup_element_oxidation_states{lookups[states_set]}")
        listed = {symbol: lookup(symbol) for symbol in symbols}
    elif Path(states_set).is_file():
        try:
            custom = data_loader.lookup_element_oxidation_states_custom
            listed = {symbol: custom(symbol, states_set) for symbol in symbols}
        except (ValueError, OSError) as error:
            raise InputError(
                f"oxidation_states_set: {states_set} is no table ({error}); write lines such as 'Fe 2 3'."
            ) from error
    else:
        raise InputError(
            f"oxidation_states_set: {states_set!r} is neither a set ({', '.join(STATE_SETS)}) nor a file; "
            "give one, or leave it out for the filtered ICSD."
        )
    return {symbol: own for symbol, own in listed.items() if own}


def divisions(tables: OxidationTables, elements: Iterable[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Cations and anions in every division that electronegativity allows."""
    scale = tables.electronegativity
    order = sorted(elements, key=lambda element: (scale[element], element))
    for cut, (left, right) in enumerate(pairwise(order), start=1):
        if scale[left] < scale[right]:
            yield order[:cut], order[cut:]
    if any(0 in tables.states[element] for element in order):
        yield order, []  # all of them neutral


def likeliest(
    tables: OxidationTables, amounts: Mapping[str, int], *, mixed: bool, ordered: bool = True
) -> Balance | None:
    """Return the likeliest neutral set of ions.

    Args:
        tables: the states to choose from.
        amounts: atoms by element.
        mixed: let the elements of smact's list take several states.
        ordered: every cation less electronegative than every anion.
    """
    if not ordered:
        return charges_of(tables, sorted(amounts), amounts, sign=0, mixed=mixed).get(0)
    best: Balance | None = None
    for cations, anions in divisions(tables, amounts):
        positive = charges_of(tables, cations, amounts, sign=1, mixed=mixed)
        negative = charges_of(tables, anions, amounts, sign=-1, mixed=mixed)
        for charge in positive.keys() & negative.keys():
            score = positive[charge].score + negative[charge].score
            if best is None or score > best.score:
                best = Balance(score, positive[charge].states + negative[charge].states)
    return best


def charges_of(
    tables: OxidationTables, elements: Sequence[str], amounts: Mapping[str, int], *, sign: int, mixed: bool
) -> dict[int, Balance]:
    """Total charges (times the sign, e) that elements of one sign reach, each with its likeliest states.

    A sign of 0 lets every element take either.
    """
    total = {0: Balance(0.0, ())}
    for element in elements:
        options = charge_options(
            tables, element, amounts[element], sign, mixed=mixed and element in tables.mixed
        )
        longer: dict[int, Balance] = {}
        for charge, so_far in total.items():
            for extra, (score, states) in options.items():
                known = longer.get(charge + extra)
                if known is None or so_far.score + score > known.score:
                    longer[charge + extra] = Balance(
                        so_far.score + score, (*so_far.states, (element, states))
                    )
        total = longer
    return total


def states_of(tables: OxidationTables, element: str, sign: int) -> dict[int, float]:
    """States of an element with a sign (any for 0; no charge has both), with their log shares."""
    return {state: score for state, score in tables.states[element].items() if state * sign >= 0}


@lru_cache(maxsize=20_000)
def charge_options(
    tables: OxidationTables, element: str, atoms: int, sign: int, *, mixed: bool
) -> dict[int, tuple[float, States]]:
    """Charges (times the sign, e) of some atoms of one element, each with its likeliest states.

    The score of a mixture is the mean over its atoms, so that it compares with that of a single state.
    """
    states = states_of(tables, element, sign)
    factor = sign or 1
    if not mixed:
        return {state * factor * atoms: (score, ((state, atoms),)) for state, score in states.items()}
    return _mixtures(tuple(states), np.array(list(states.values())), atoms, factor) if states else {}


def _mixtures(
    states: tuple[int, ...], scores: np.ndarray, atoms: int, factor: int
) -> dict[int, tuple[float, States]]:
    """Return the likeliest mixture of states for every charge that ``atoms`` atoms reach."""
    charges = [state * factor for state in states]
    steps = [charge - min(charges) for charge in charges]  # one atom's charge above the lowest
    best = np.full(max(steps) * atoms + 1, -np.inf)
    best[0] = 0.0
    choices = np.zeros((atoms, len(best)), dtype=np.uint8)
    for atom in range(atoms):
        options = np.full((len(steps), len(best)), -np.inf)
        for option, step in zip(options, steps, strict=True):
            option[step:] = best[: len(best) - step]
        options += scores[:, None]
        choices[atom] = options.argmax(axis=0)
        best = options.max(axis=0)
    place = ends = np.flatnonzero(best > -np.inf)
    counts = np.zeros((len(ends), len(states)), dtype=int)
    for choice in choices[::-1]:
        counts[np.arange(len(ends)), choice[place]] += 1
        place = place - np.array(steps)[choice[place]]
    return {
        end + min(charges) * atoms: (score, tuple((states[i], own[i]) for i in by_state if own[i]))
        for by_state in [sorted(range(len(states)), key=states.__getitem__)]
        for end, score, own in zip(
            ends.tolist(), (best[ends] / max(atoms, 1)).tolist(), counts.tolist(), strict=True
        )
    }
