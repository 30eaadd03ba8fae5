"""Words and states of known compounds, nonsense and textbook compounds; writes oxidation-states.json.

OMP_NUM_THREADS=1 nice -n 5 python benchmarks/oxidation-states/measure.py ../shared/data

Known: half of the compounds of the Materials Project on its hull, metals alone left out, that the shares
were not counted on. Nonsense: elements drawn by their frequencies there, states drawn evenly from all that
smact's permissive list has for them (three ICSD reports), the smallest amounts that balance them; and the
known stoichiometries with elements shuffled among them, kept where smact calls them neutral.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np

from invdesign.composition.assignment import assigned, assignment
from invdesign.composition.batch import CompositionBatch
from invdesign.composition.formula import composition_key, read_compositions, reduced_amounts
from invdesign.composition.oxidation_states import ChargeRules, OxidationTables, oxidation_tables
from invdesign.filters.charge_balance import charge_balance
from invdesign.filters.charge_balance_batch import charge_verdicts, searched_states
from invdesign.training.state_shares import halves, stable

HERE = Path(__file__).parent
OUT = HERE / "oxidation-states.json"
TEXTBOOK = HERE.parents[1] / "tests/composition/textbook_states.txt"
SEED, MANY, MOST = 29, 10_000, 8
_GRIDS = {k: np.stack(np.meshgrid(*[np.arange(1, MOST + 1)] * k), -1).reshape(-1, k) for k in (2, 3, 4, 5)}
WORDS = ("usual", "unusual", "none")


def textbook() -> list[tuple[str, dict[str, Fraction]]]:
    """Formulas, and the states of each atom of each element."""
    found = []
    for line in TEXTBOOK.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            formula, ions = line.split(": ")
            pairs = re.findall(r"([A-Z][a-z]?)(\S+)", ions)
            found.append((formula, {e: sorted(map(Fraction, own.split(","))) for e, own in pairs}))
    return found


def states_given(formula: str) -> dict[str, list[Fraction]]:
    """States as in the textbook table: one where all atoms share it."""
    found = {}
    for element, states in assignment(formula).states:
        scale = 2 if any(n != int(n) for _, n in states) else 1
        every = [Fraction(s) for s, n in states for _ in range(int(n * scale))]
        found[element] = sorted(set(every)) if len(set(every)) == 1 else sorted(every)
    return found


def right(formula: str, wanted: dict[str, list[Fraction]]) -> bool:
    """Whether the likeliest states are the textbook's; a chain may be written by its mean."""
    found = states_given(formula)
    if found.keys() != wanted.keys():
        return False
    return all(
        found[e] == wanted[e] or (_chain(found[e]) and _mean(found[e]) == _mean(wanted[e])) for e in wanted
    )


def _chain(states: list[Fraction]) -> bool:
    return len(states) == 1 and states[0] < 0


def _mean(states: list[Fraction]) -> Fraction:
    return sum(states, Fraction()) / len(states)


def words(formulas: list[str]) -> dict[str, float]:
    """Shares of the three words."""
    counts = Counter(assigned(reduced_amounts(f)).word for f in formulas)
    return {word: round(counts[word] / len(formulas), 4) for word in WORDS} | {"n": len(formulas)}


def balanced_nonsense(known: list[str], rng: np.random.Generator, n: int) -> list[str]:
    """Elements by frequency, states evenly, the smallest amounts that balance."""
    tables = oxidation_tables()
    amounts = [reduced_amounts(f) for f in known]
    usable = tables.states.keys() & tables.electronegativity.keys()
    pool = np.array([e for own in amounts for e in own if e in usable])
    sizes = np.array([len(own) for own in amounts if 2 <= len(own) <= 5])
    taken = {composition_key(f) for f in known}
    found: dict[str, str] = {}
    while len(found) < n:
        elements = list(dict.fromkeys(rng.choice(pool, rng.choice(sizes)).tolist()))
        if len(elements) < 2 or set(elements) <= tables.metals:
            continue
        states = [int(rng.choice(list(tables.states[e]))) for e in elements]
        formula = _balanced(elements, states, tables)
        if formula and (key := composition_key(formula)) not in taken:
            found.setdefault(key, formula)
    return list(found.values())


def _balanced(elements: list[str], states: list[int], tables: OxidationTables) -> str | None:
    scale = tables.electronegativity
    cations = [scale[e] for e, s in zip(elements, states, strict=True) if s > 0]
    anions = [scale[e] for e, s in zip(elements, states, strict=True) if s < 0]
    if not cations or not anions or max(cations) >= min(anions):
        return None
    sets = _GRIDS[len(elements)]
    neutral = sets[sets @ np.array(states) == 0]
    if not len(neutral):
        return None
    least = neutral[neutral.sum(axis=1).argmin()]
    return "".join(f"{e}{a}" for e, a in zip(elements, least, strict=True))


def shuffled_nonsense(known: list[str], rng: np.random.Generator, n: int) -> list[str]:
    """Known stoichiometries with the elements of others, where smact's permissive rule finds them neutral."""
    tables, rules = oxidation_tables(), ChargeRules()
    amounts = [reduced_amounts(f) for f in known]
    pool = np.array([e for own in amounts for e in own])
    taken = {composition_key(f) for f in known}
    found: dict[str, str] = {}
    while len(found) < n:
        own = amounts[rng.integers(len(amounts))]
        elements = rng.choice(pool, len(own)).tolist()
        if len(set(elements)) < len(own) or set(elements) <= tables.metals:
            continue
        formula = "".join(f"{e}{a}" for e, a in zip(elements, own.values(), strict=True))
        if (key := composition_key(formula)) not in taken and charge_balance(formula, rules).passed:
            found.setdefault(key, formula)
    return list(found.values())


def speed(rng: np.random.Generator, kinds: int, n: int = 50_000) -> dict[str, int]:
    """Words and verdicts by smact's rules in a second of one core, on formulas as of screening/charge.py."""
    usual = [z for z in range(1, 84) if z not in (2, 10, 18, 36, 43, 54, 61)]
    numbers = np.array([rng.choice(usual, kinds, replace=False) for _ in range(n)], dtype=np.uint8)
    batch = CompositionBatch(numbers, rng.integers(1, 5, numbers.shape))
    rates = {}
    for name, function in (("words_per_s", searched_states), ("by_smacts_rules_per_s", charge_verdicts)):
        function(batch.take(slice(0, 10)))
        start = time.process_time()
        function(batch)
        rates[name] = round(n / (time.process_time() - start))
    return rates


def insulators(path: Path, measured: set[str]) -> list[str]:
    """Known compounds with a PBE gap above 2.5 eV, of those measured."""
    table = read_compositions(path)
    return [
        f
        for f, gap in zip(table.formulas, table.columns["band_gap"], strict=True)
        if gap > 2.5 and composition_key(f) in measured
    ]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--first-half", action="store_true", help="measure what was counted; writes nothing")
    options = parser.parse_args()
    every = stable(options.data / "compositions" / "mp_hull.csv.gz")
    known = halves(every)[0 if options.first_half else 1]
    table = textbook()
    wrong = [formula for formula, wanted in table if not right(formula, wanted)]
    start = time.process_time()
    metrics = {"known": words(known)}
    metrics["known"]["formulas_per_s"] = round(len(known) / (time.process_time() - start))
    metrics["speed"] = {kinds: speed(np.random.default_rng(SEED), kinds) for kinds in (3, 4)}
    keys = {composition_key(f) for f in known}
    metrics["known, PBE gap above 2.5 eV"] = words(
        insulators(options.data / "compositions" / "mp_band_gap.csv.gz", keys)
    )
    rng = np.random.default_rng(SEED)
    metrics["nonsense, balanced by permissive states"] = words(balanced_nonsense(every, rng, MANY))
    metrics["nonsense, shuffled elements, neutral by permissive states"] = words(
        shuffled_nonsense(every, rng, MANY)
    )
    metrics["textbook"] = {"n": len(table), "right": round(1 - len(wrong) / len(table), 4), "wrong": wrong}
    print(json.dumps(metrics, indent=1))
    if not options.first_half:
        OUT.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
