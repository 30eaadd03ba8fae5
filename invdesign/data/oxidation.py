"""Oxidation states: which ions are known, and the likeliest that make a composition neutral.

The states are smact's, counted in the ICSD, under the rules of :data:`CHARGE_OPTIONS`. Instead of trying
every product of states, the search adds up, element by element, the charges that can be reached.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CHARGE_OPTIONS: dict[str, str | int | bool] = {
    "oxidation_states": "icsd24",
    "consensus": 3,
    "include_zero": False,
    "commonality": "low",
    "use_pauling_test": True,
    "mixed_valence": True,
    "include_alloys": True,
    "check_metallicity": False,
}
"""What of smact is used, in the words of its arguments; belongs in a run's record."""

States = tuple[tuple[int, int], ...]  # (oxidation state, number of atoms) of one element


class Balance(NamedTuple):
    """A set of ions: their log likelihood, and the states of each element."""

    score: float
    states: tuple[tuple[str, States], ...]

    def __str__(self) -> str:
        """The ions as a chemist writes them: ``1 Fe2+ 2 Fe3+ O2-``."""
        ions = []
        for element, states in self.states:
            for state, atoms in sorted(states):
                amount = f"{atoms} " if len(states) > 1 else ""
                ions.append(f"{amount}{element}{abs(state)}{'+' if state > 0 else '-'}")
        return " ".join(ions)


class OxidationTables(NamedTuple):
    """What smact knows of the elements."""

    reports: dict[str, dict[int, float]]  # element → state → how often the ICSD has it
    states: dict[str, dict[int, float]]  # the same as log shares of the element's reports
    electronegativity: dict[str, float]
    metals: frozenset[str]
    mixed: frozenset[str]


@lru_cache(maxsize=1)
def oxidation_tables() -> OxidationTables:
    """What smact knows, read once (2 s, most of it importing smact)."""
    from smact import element_dictionary, metals
    from smact.screening import MIXED_VALENCE_ELEMENTS
    from smact.utils.oxidation import ICSD24OxStatesFilter

    icsd = ICSD24OxStatesFilter()
    kept = icsd.filter(
        consensus=int(CHARGE_OPTIONS["consensus"]),
        include_zero=bool(CHARGE_OPTIONS["include_zero"]),
        commonality=str(CHARGE_OPTIONS["commonality"]),
    )
    frame = icsd.ox_states_df
    ions = zip(frame["element"], frame["oxidation_state"], strict=True)
    counts = dict(zip(ions, frame["results_count"], strict=True))
    reports = {
        element: {int(word): float(counts[element, int(word)]) for word in str(words).split()}
        for element, words in zip(kept["element"], kept["oxidation_state"], strict=True)
    }
    states = {
        element: {state: math.log(number / sum(own.values())) for state, number in own.items()}
        for element, own in reports.items()
    }
    scale = {
        symbol: float(element.pauling_eneg)
        for symbol, element in element_dictionary().items()
        if element.pauling_eneg is not None
    }
    return OxidationTables(reports, states, scale, frozenset(metals), MIXED_VALENCE_ELEMENTS)


def single_states(amounts: Mapping[str, int]) -> dict[str, int] | None:
    """The likeliest oxidation state of each element, one each; None where no such states are neutral."""
    tables = oxidation_tables()
    if not amounts.keys() <= tables.states.keys() & tables.electronegativity.keys():
        return None
    found = likeliest(divisions(amounts), amounts, mixed=False)
    return found and {element: state for element, ((state, _),) in found.states}


def divisions(amounts: Mapping[str, int]) -> Iterator[tuple[list[str], list[str]]]:
    """Cations and anions in every division that electronegativity allows."""
    scale = oxidation_tables().electronegativity
    order = sorted(amounts, key=lambda element: (scale[element], element))
    for cut, (left, right) in enumerate(pairwise(order), start=1):
        if scale[left] < scale[right]:
            yield order[:cut], order[cut:]


def likeliest(
    splits: Iterable[tuple[list[str], list[str]]], amounts: Mapping[str, int], *, mixed: bool
) -> Balance | None:
    """The likeliest neutral set of ions.

    Args:
        splits: cations and anions, each way to be tried.
        amounts: atoms by element.
        mixed: let the elements of smact's list take several states.
    """
    best: Balance | None = None
    for cations, anions in splits:
        positive = charges_of(cations, amounts, sign=1, mixed=mixed)
        negative = charges_of(anions, amounts, sign=-1, mixed=mixed)
        for charge in positive.keys() & negative.keys():
            score = positive[charge].score + negative[charge].score
            if best is None or score > best.score:
                best = Balance(score, positive[charge].states + negative[charge].states)
    return best


def charges_of(
    elements: list[str], amounts: Mapping[str, int], *, sign: int, mixed: bool
) -> dict[int, Balance]:
    """Total charges (absolute, e) that elements of one sign reach, each with its likeliest states."""
    total = {0: Balance(0.0, ())}
    for element in elements:
        several = mixed and element in oxidation_tables().mixed
        options = charge_options(element, amounts[element], sign, mixed=several)
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


@lru_cache(maxsize=20_000)
def charge_options(element: str, atoms: int, sign: int, *, mixed: bool) -> dict[int, tuple[float, States]]:
    """Charges (absolute, e) of some atoms of one element with one sign, each with its likeliest states.

    The score of a mixture is the mean over its atoms, so that it compares with that of a single state.
    """
    states = {state: score for state, score in oxidation_tables().states[element].items() if state * sign > 0}
    if not mixed:
        return {abs(state) * atoms: (score, ((state, atoms),)) for state, score in states.items()}
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for _ in range(atoms):
        longer: dict[int, tuple[float, tuple[int, ...]]] = {}
        for charge, (score, chosen) in best.items():
            for state, extra in states.items():
                total = charge + abs(state)
                if total not in longer or score + extra > longer[total][0]:
                    longer[total] = (score + extra, (*chosen, state))
        best = longer
    return {
        charge: (score / atoms, tuple((state, chosen.count(state)) for state in sorted(set(chosen))))
        for charge, (score, chosen) in best.items()
    }
