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
from pathlib import Path

from invdesign.composition import state_likelihood
from invdesign.composition.assignment import assigned
from invdesign.composition.formula import composition_key, read_compositions, reduced_amounts, text_hash
from invdesign.composition.oxidation_states import oxidation_tables
from invdesign.composition.state_likelihood import ORDER, is_nonmetal

OUT = Path(state_likelihood.__file__).with_name("state_shares.csv")
BESIDE = ["", *(symbol for symbol in ORDER if is_nonmetal(symbol) and symbol not in ("Kr", "Xe", "Rn"))]
NEAREST = {"N": "S", "C": "Se", "P": "Se", "As": "Te", "Sb": "Te", "H": "I", "Si": "Te", "Ge": "Te", "B": "Te"}
"""Anion whose statistics of smact stand in for one without."""
PRIOR, BY_ANION, LEAST = 20.0, 0.8, 3e-5
IN_METALS, FEW, UNLISTED = 0.1, 3.0, 30.0
METALLIC = frozenset("B C Si Ge P As Sb".split())
"""Elements beside which electrons of transition metals are mostly not counted by ions."""
VALENCE = {
    **dict.fromkeys("F Cl Br I H Au".split(), 1),
    **dict.fromkeys("O S Se Te Po".split(), 2),
    **dict.fromkeys("N P As Sb Bi".split(), 3),
    **dict.fromkeys("C Si Ge Sn Pb".split(), 4),
    **dict.fromkeys("B".split(), 5),
}
Shares = dict[tuple[str, str], dict[int, float]]


def prior() -> Shares:
    """Return the ICSD's shares."""
    from smact import data_directory
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
        if (valence := VALENCE.get(element)) and -valence not in counts[element]:
            counts[element][-valence] = 1.0
    counts["Ir"][7] = UNLISTED
    counts["Xe"] = {2: 5.0, 4: 3.0, 6: 5.0, 8: 1.0}
    counts["Kr"] = {2: 1.0}
    table = json.loads((Path(data_directory) / "oxidation_state_probability_table.json").read_text())
    by_anion: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for anion, cation, share in table:
        element = cation.rstrip("0123456789")
        by_anion[element, anion.split("-")[0]][int(cation[len(element) :])] = share
    shares: Shares = {}
    for element, own in counts.items():
        for beside in BESIDE:
            usable = {s: n for s, n in own.items() if _possible(element, s, beside)}
            total = sum(usable.values())
            if not total:
                continue
            near = by_anion.get((element, NEAREST.get(beside, beside)), {})
            weight = BY_ANION if sum(near.values()) > 0.5 else 0.0
            shares[element, beside] = {
                s: (1 - weight) * n / total + weight * near.get(s, 0.0) / (sum(near.values()) or 1)
                for s, n in usable.items()
            }
    return shares


def _possible(element: str, state: int, beside: str) -> bool:
    """Whether an element can have a state where ``beside`` is the most electronegative element."""
    if element == beside:
        return state < 0
    if beside == "":
        return True
    return ORDER[element] < ORDER[beside]


def counted(formulas: list[str], start: Shares) -> Shares:
    """Return the shares of states by the likeliest states of compounds, on top of the ICSD's.

    Within a sign they are shares of the element's atoms; a sign that is rarer beside an element than the
    frequencies of both let expect has all its shares lowered by as much.
    """
    counts: dict[tuple[str, str], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    signs: dict[tuple[str, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    n_beside: dict[str, int] = defaultdict(int)
    for formula in formulas:
        amounts = reduced_amounts(formula)
        found = assigned(amounts)
        last = max(amounts, key=ORDER.__getitem__)
        if found.kind != "ions" or not is_nonmetal(last):
            continue
        n_beside[last] += 1
        for element, states in found.states:
            atoms = sum(n for _, n in states)
            for sign in {1 if state > 0 else -1 for state, _ in states}:
                signs[element, sign][last] += 1
            for state, n in states:
                if state == int(state) and (state > 0 or -state == VALENCE.get(element)):
                    weight = IN_METALS if last in METALLIC else 1.0
                    counts[element, last][int(state)] += weight * float(n / atoms)
    every = sum(n_beside.values())
    shares: Shares = {}
    for (element, beside), own in start.items():
        shares[element, beside] = {}
        for sign in (1, -1):
            ours = {s: p for s, p in own.items() if s * sign > 0}
            seen = {s: counts[element, beside].get(s, 0.0) for s in ours}
            total, mass = sum(seen.values()) + PRIOR, sum(ours.values())
            role = signs[element, sign]
            expected = sum(role.values()) * n_beside[beside] / every
            affinity = 1.0 if beside in ("", element) else (role[beside] + FEW) / (expected + FEW)
            if not is_nonmetal(element):
                affinity **= 0.5
            for s, p in ours.items():
                shares[element, beside][s] = min(affinity, 1.0) * (seen[s] + PRIOR * p / mass) / total
    return shares


def write(shares: Shares) -> None:
    """Write the table that the package reads."""
    with OUT.open("w", newline="", encoding="utf-8") as handle:
        rows = csv.writer(handle, lineterminator="\n")
        rows.writerow(["element", "beside", "state", "share"])
        for (element, beside), own in sorted(shares.items()):
            rows.writerows(
                [element, beside, s, f"{p:.2g}"] for s, p in sorted(own.items()) if p >= LEAST
            )
    state_likelihood._shares.cache_clear()  # noqa: SLF001 - it has changed
    state_likelihood.ion_options.cache_clear()


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
