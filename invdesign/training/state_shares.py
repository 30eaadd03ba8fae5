"""Count the oxidation states of the known compounds, by element and most electronegative element.

python -m invdesign.training.state_shares ../shared/data

The ICSD's counts (smact's by element and by anion, pymatgen's) are where it begins; then the likeliest states
of half of the Materials Project's stable compounds are counted, three times over, each with the shares of the
last. The other half (odd text hashes of their keys) is left for measuring.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from itertools import product
from pathlib import Path

from invdesign.composition import state_likelihood
from invdesign.composition.assignment import assigned
from invdesign.composition.formula import composition_key, read_compositions, reduced_amounts, text_hash
from invdesign.composition.oxidation_states import oxidation_tables
from invdesign.composition.polyanions import VALENCE, MeanStates, elements
from invdesign.composition.state_likelihood import ORDER, is_nonmetal

OUT = Path(state_likelihood.__file__).with_name("state_shares.csv")
NOBLE = elements("He Ne Ar Kr Xe Rn At")
BESIDE = ["", *(symbol for symbol in ORDER if is_nonmetal(symbol) and symbol not in NOBLE)]
NEAREST = {
    "N": "S",
    "C": "Se",
    "P": "Se",
    "As": "Te",
    "Sb": "Te",
    "H": "I",
    "Si": "Te",
    "Ge": "Te",
    "B": "Te",
}
"""Anion whose statistics of smact stand in for one without."""
PRIOR, FEW, IN_METALS = 20.0, 3.0, 0.1
"""Compounds that the ICSD's shares count as; that expected numbers are raised by; that one of METALLIC is."""
BY_ANION, MANY, LEAST = 0.8, 0.5, 3e-5
TABLE = "oxidation_state_probability_table.json"
UNLISTED = {"Xe": {2: 5.0, 4: 3.0, 6: 5.0, 8: 1.0}, "Kr": {2: 1.0}}
"""Of elements without counts, from their known compounds."""
UNCOUNTED = {("Ir", 7): 30.0, ("Ru", 8): 30.0}
MOST = {
    **dict.fromkeys(elements("H Li Na K Rb Cs Fr"), 1),
    **dict.fromkeys(elements("Be Mg Ca Sr Ba Ra Zn Cd Hg"), 2),
    **dict.fromkeys(elements("B Al Ga In Tl Sc Y La Gd Lu Ho Er Tm Yb Eu Sm Pm"), 3),
    **dict.fromkeys(elements("C Si Ge Sn Pb Ti Zr Hf Ce Pr Nd Tb Dy Th"), 4),
    **dict.fromkeys(elements("N P As Sb Bi V Nb Ta Pa"), 5),
}
"""Largest states; of lanthanides, those with compounds."""
NEVER_ONE = elements("Be Mg Ca Sr Ba Ra La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Y Th U")
METALLIC = elements("B C Si Ge P As Sb")
"""Elements beside which electrons of transition metals are mostly not counted by ions."""
Shares = dict[tuple[str, str], dict[int, float]]


def prior() -> Shares:
    """Return the ICSD's shares."""
    counts, by_anion = _counts(), _by_anion()
    shares: Shares = {}
    for (element, own), beside in product(counts.items(), BESIDE):
        usable = {s: n for s, n in own.items() if _possible(element, s, beside)}
        near = by_anion.get((element, NEAREST.get(beside, beside)), {})
        weight = BY_ANION if sum(near.values()) > MANY else 0.0
        if usable:
            shares[element, beside] = {
                s: (1 - weight) * n / sum(usable.values())
                + weight * near.get(s, 0.0) / (sum(near.values()) or 1)
                for s, n in usable.items()
            }
    return shares


def _counts() -> dict[str, dict[int, float]]:
    """Reports in the ICSD of states; 1 for those that only smact's other list has."""
    from smact.data_loader import lookup_element_oxidation_states_wiki
    from smact.utils.oxidation import ICSD24OxStatesFilter

    frame = ICSD24OxStatesFilter().ox_states_df
    counts: dict[str, dict[int, float]] = defaultdict(dict)
    for element, state, n in zip(
        frame["element"], frame["oxidation_state"], frame["results_count"], strict=True
    ):
        if element in ORDER and n and (state > 0 or -state == VALENCE.get(element)):
            counts[element][int(state)] = float(n)
    for element in ORDER:
        for state in lookup_element_oxidation_states_wiki(element) or ():
            if state > 0:
                counts[element].setdefault(state, 1.0)
        if valence := VALENCE.get(element):
            counts[element].setdefault(-valence, 1.0)
    for (element, state), n in UNCOUNTED.items():
        counts[element][state] = n
    return counts | UNLISTED


def _by_anion() -> dict[tuple[str, str], dict[int, float]]:
    """Return smact's shares by cation and anion."""
    from smact import data_directory

    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for anion, cation, share in json.loads((Path(data_directory) / TABLE).read_text()):
        element = cation.rstrip("0123456789")
        found[element, anion.split("-")[0]][int(cation[len(element) :])] = share
    return found


def _possible(element: str, state: int, beside: str) -> bool:
    """Whether an element can have a state where ``beside`` is the most electronegative element."""
    if state > MOST.get(element, state) or (state == 1 and element in NEVER_ONE):
        return False
    if element == beside:
        return state < 0
    if beside == "":
        return True
    return ORDER[element] < ORDER[beside]


def counted(formulas: list[str], start: Shares) -> Shares:
    """Return the shares of states by the likeliest states of compounds, on top of the ICSD's.

    Within a sign they are shares of the element's atoms; a sign that is rarer beside an element than the
    frequencies of both let expect has all its shares lowered by as much (metals: by the square root).
    """
    counts: dict[tuple[str, str, int], float] = defaultdict(float)
    signs: dict[tuple[str, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    n_beside: dict[str, int] = defaultdict(int)
    for formula in formulas:
        amounts = reduced_amounts(formula)
        found, last = assigned(amounts), max(amounts, key=ORDER.__getitem__)
        if found.kind == "ions" and is_nonmetal(last):
            n_beside[last] += 1
            for element, states in found.states:
                _count(counts, signs, last, element, states)
    every = sum(n_beside.values())
    shares: Shares = {}
    for (element, beside), own in start.items():
        shares[element, beside] = {}
        for sign in (1, -1):
            ours = {s: p for s, p in own.items() if s * sign > 0}
            total = sum(counts[element, beside, s] for s in ours) + PRIOR
            role = signs[element, sign]
            expected = sum(role.values()) * n_beside[beside] / every
            affinity = 1.0 if beside in ("", element) else min((role[beside] + FEW) / (expected + FEW), 1.0)
            if not is_nonmetal(element):
                affinity **= 0.5
            elif (sign > 0 or element == "H") and beside not in ("", element):
                both = sum(sum(signs[element, s].values()) for s in (1, -1)) * n_beside[beside] / every
                affinity = min(affinity, ((role[beside] + FEW) / (both + FEW)) ** 0.5)
            for s, p in ours.items():
                known = counts[element, beside, s] + PRIOR * p / sum(ours.values())
                shares[element, beside][s] = affinity * known / total
    return shares


def _count(
    counts: dict[tuple[str, str, int], float],
    signs: dict[tuple[str, int], dict[str, int]],
    beside: str,
    element: str,
    states: MeanStates,
) -> None:
    """Add the states of one element of a compound."""
    atoms = sum(n for _, n in states)
    for sign in {1 if state > 0 else -1 for state, _ in states}:
        signs[element, sign][beside] += 1
    for state, n in states:
        if state == int(state) and (state > 0 or -state == VALENCE.get(element)):
            counts[element, beside, int(state)] += (IN_METALS if beside in METALLIC else 1.0) * float(
                n / atoms
            )


def write(shares: Shares) -> None:
    """Write the table that the package reads."""
    with OUT.open("w", newline="", encoding="utf-8") as handle:
        rows = csv.writer(handle, lineterminator="\n")
        rows.writerow(["element", "beside", "state", "share"])
        for (element, beside), own in sorted(shares.items()):
            rows.writerows([element, beside, s, f"{p:.2g}"] for s, p in sorted(own.items()) if p >= LEAST)
    state_likelihood.read_shares_again()


def stable(path: Path) -> list[str]:
    """Return the compounds on the hull that are not of smact's metals alone."""
    metals = oxidation_tables().metals
    table = read_compositions(path)
    below = table.columns["decomposition_energy_per_atom"] <= 0
    return [
        formula
        for formula, on in zip(table.formulas, below, strict=True)
        if on and len(amounts := reduced_amounts(formula)) > 1 and not amounts.keys() <= metals
    ]


def halves(formulas: list[str]) -> tuple[list[str], list[str]]:
    """Divide formulas by their hashes: to count, to measure."""
    odd = [text_hash(composition_key(formula)) % 2 == 1 for formula in formulas]
    return [f for f, o in zip(formulas, odd, strict=True) if not o], [
        f for f, o in zip(formulas, odd, strict=True) if o
    ]


def main() -> None:
    """Count and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    half, _ = halves(stable(data / "compositions" / "mp_hull.csv.gz"))
    start = prior()
    write(start)
    for _ in range(3):
        write(counted(half, start))


if __name__ == "__main__":
    main()
