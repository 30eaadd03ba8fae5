"""Vectorised charge balance against smact: the same verdicts, and how much faster; writes charge.json.

OMP_NUM_THREADS=1 nice -n 5 python benchmarks/screening/charge.py ../shared/data/compositions/mp_hull.csv.gz

Every set of rules is asked of the same formulas, in one order drawn at random; ``--seconds`` ends a set early
(the formulas so far are a random sample) and the metrics say how many were compared. A second run with
``--only`` replaces only those sets' metrics.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pymatgen.core import Composition
from smact.screening import ICSD24FilterConfig, smact_validity

from invdesign.composition.batch import CompositionBatch
from invdesign.composition.formula import read_compositions
from invdesign.composition.oxidation_states import SMACT_COMBINATIONS, STATE_SETS, ChargeRules
from invdesign.crystal.elements import SYMBOLS
from invdesign.filters.charge_balance_batch import charge_verdicts, likeliest_states
from invdesign.io.provenance import hardware

SEED = 6
PARTS = {"known": 50_000, "shuffled": 30_000, "random": 18_000, "large": 2_000}
OUT = Path(__file__).with_suffix(".json")
PLAIN = ChargeRules(mixed_valence=False)
CUSTOM = "Na 1\nCl -1 5 7\nFe 0 2 3\nO -2 -1 -1\nS -2 4 6\nCu 1 2\nSi 4 -4\nLi 1 0\nTi 4 3 2\nP 5 -3\nF -1\n"


def rules_by_name(custom: str) -> dict[str, ChargeRules]:
    """Return the sets of rules to compare."""
    mixed = ChargeRules(mixed_valence_combinations=SMACT_COMBINATIONS)
    return {
        "smact's defaults": PLAIN,
        "mixed_valence": mixed,
        "use_pauling_test=False": replace(PLAIN, use_pauling_test=False),
        "include_alloys=False": replace(PLAIN, include_alloys=False),
        "check_metallicity": replace(PLAIN, check_metallicity=True),
        "check_metallicity, metallicity_threshold=0.5": replace(
            PLAIN, check_metallicity=True, metallicity_threshold=0.5
        ),
        **{f"oxidation_states_set={name}": replace(PLAIN, oxidation_states_set=name) for name in STATE_SETS},
        "oxidation_states_set=file": replace(PLAIN, oxidation_states_set=custom),
        "consensus=1": replace(PLAIN, consensus=1),
        "consensus=20": replace(PLAIN, consensus=20),
        "include_zero": replace(PLAIN, include_zero=True),
        "commonality=medium": replace(PLAIN, commonality="medium"),
        "commonality=high": replace(PLAIN, commonality="high"),
        "commonality=main": replace(PLAIN, commonality="main"),
        "commonality=2.5": replace(PLAIN, commonality=2.5),
        "mixed_valence, commonality=medium": replace(mixed, commonality="medium"),
        "mixed_valence, include_zero, commonality=medium": replace(
            mixed, commonality="medium", include_zero=True
        ),
        "mixed_valence, use_pauling_test=False, commonality=medium": replace(
            mixed, commonality="medium", use_pauling_test=False
        ),
    }


def smact_says(formula: str, rules: ChargeRules) -> bool:
    """Return the verdict of smact under our rules."""
    return smact_validity(
        formula,
        use_pauling_test=rules.use_pauling_test,
        include_alloys=rules.include_alloys,
        check_metallicity=rules.check_metallicity,
        metallicity_threshold=rules.metallicity_threshold,
        oxidation_states_set=rules.oxidation_states_set,
        icsd_filter=ICSD24FilterConfig(rules.include_zero, rules.consensus, rules.commonality),
        mixed_valence=rules.mixed_valence,
    )


def formulas(known: list[str], rng: np.random.Generator) -> list[str]:
    """Known formulas, the same with shuffled elements, and random ones, in random order."""
    parts = [list(rng.choice(known, PARTS["known"], replace=False))]
    amounts = [Composition(formula).as_dict() for formula in rng.choice(known, PARTS["shuffled"])]
    pool = rng.permutation([element for own in amounts for element in own]).tolist()
    shuffled = []
    for own in amounts:
        elements = [pool.pop() for _ in own]
        shuffled.append("".join(f"{e}{n:g}" for e, n in zip(elements, own.values(), strict=True)))
    parts.append(shuffled)
    for name, kinds, most in (("random", (2, 7), 7), ("large", (2, 5), 200)):
        own_part = []
        for _ in range(PARTS[name]):
            chosen = rng.choice(SYMBOLS[1:], rng.integers(*kinds), replace=False)
            counts = rng.integers(1, most, len(chosen))
            own_part.append("".join(f"{e}{n}" for e, n in zip(chosen, counts, strict=True)))
        parts.append(own_part)
    every = [formula for part in parts for formula in part]
    return [str(every[i]) for i in rng.permutation(len(every))]


def parity(every: list[str], rules: ChargeRules, seconds: float) -> dict[str, object]:
    """How many verdicts are equal, of as many formulas as the time allows."""
    batch, wrong = CompositionBatch.of(every)
    ours = charge_verdicts(batch, rules) > 0
    rows = [i for i in range(len(every)) if i not in wrong]
    compared, differing, passed = 0, [], 0
    start = time.perf_counter()
    for mine, row in zip(ours.tolist(), rows, strict=True):
        theirs = smact_says(every[row], rules)
        compared, passed = compared + 1, passed + theirs
        if mine != theirs:
            differing.append(every[row])
        if time.perf_counter() - start > seconds:
            break
    took = time.perf_counter() - start
    return {
        "compared": compared,
        "equal": compared - len(differing),
        "differing": differing[:20],
        "passed_by_smact": passed,
        "smact_per_s": round(compared / took),
    }


def fractions(rng: np.random.Generator) -> dict[str, int]:
    """Compare on fractional formulas, whose amounts both truncate; smact cannot where none is one."""
    rules = replace(PLAIN, truncate_fractions=True, include_alloys=False)
    every = []
    for _ in range(10_000):
        chosen = rng.choice(SYMBOLS[1:90], rng.integers(2, 5), replace=False)
        every.append("".join(f"{e}{n / 4:g}" for e, n in zip(chosen, rng.integers(1, 20, 5), strict=False)))
    batch, wrong = CompositionBatch.of(every, truncate_fractions=True)
    kept = [formula for i, formula in enumerate(every) if i not in wrong]
    whole = charge_verdicts(CompositionBatch.of(kept)[0], rules) > 0
    ours = charge_verdicts(batch, rules) > 0
    theirs = np.array([smact_says(formula, rules) for formula in kept])
    return {
        "compared": len(kept),
        "equal": int((ours == theirs).sum()),
        "equal_if_fractions_are_kept": int((whole == theirs).sum()),
        "refused": len(wrong),
    }


def speed(
    rng: np.random.Generator, rounds: int = 5, n: int = 100_000, n_smact: int = 150
) -> dict[str, object]:
    """Verdicts a second, from arrays and from text, and smact's in the same run, turn by turn."""
    rules = ChargeRules(mixed_valence_combinations=SMACT_COMBINATIONS)
    usual = [z for z in range(1, 84) if z not in (2, 10, 18, 36, 43, 54, 61)]
    metrics: dict[str, object] = {}
    for kinds in (3, 4):
        numbers = np.array([rng.choice(usual, kinds, replace=False) for _ in range(n)])
        counts = rng.integers(1, 5, numbers.shape)
        texts = [
            "".join(f"{SYMBOLS[z]}{a}" for z, a in zip(*row, strict=True))
            for row in zip(numbers.tolist(), counts.tolist(), strict=True)
        ]
        batch = CompositionBatch.of(texts)[0]
        charge_verdicts(batch.take(slice(0, 10)), rules)
        smact_says(texts[0], rules)
        taken: dict[str, list[float]] = {"ours": [], "from_text": [], "states": [], "smact": []}
        for turn in range(rounds):
            start = time.perf_counter()
            codes = charge_verdicts(batch, rules)
            taken["ours"].append(n / (time.perf_counter() - start))
            start = time.perf_counter()
            charge_verdicts(CompositionBatch.of(texts)[0], rules)
            taken["from_text"].append(n / (time.perf_counter() - start))
            some = slice(turn * 20_000, (turn + 1) * 20_000)
            start = time.perf_counter()
            likeliest_states(batch.take(some), codes[some], rules)
            stated = np.isin(codes[some], (1, 2)).sum()
            taken["states"].append(stated / (time.perf_counter() - start))
            start = time.perf_counter()
            for text in texts[turn * n_smact : (turn + 1) * n_smact]:
                smact_says(text, rules)
            taken["smact"].append(n_smact / (time.perf_counter() - start))
        ratios = [ours / theirs for ours, theirs in zip(taken["ours"], taken["smact"], strict=True)]
        metrics[f"{kinds} elements"] = {
            **{f"{name}_per_s": round(float(np.median(own))) for name, own in taken.items()},
            "times_smact_median": round(float(np.median(ratios))),
            "times_smact_least": round(min(ratios)),
        }
    return metrics


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("known", type=Path)
    parser.add_argument("--seconds", type=float, default=1e9, help="most time for each set of rules")
    parser.add_argument("--only", nargs="*", help="sets of rules by name, 'speed' or 'fractions'")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    every = formulas(read_compositions(options.known).formulas, np.random.default_rng(SEED))
    metrics = json.loads(options.out.read_text()) if options.out.is_file() else {"parity": {}}
    metrics |= {
        "formulas": {"source": options.known.name, **PARTS, "seed": SEED},
        "hardware": hardware(),
        "versions": {name: version(name) for name in ("smact", "numpy", "pymatgen")},
    }

    def write() -> None:
        options.out.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")

    wanted = lambda name: options.only is None or name in options.only  # noqa: E731
    if wanted("speed"):
        metrics["speed"] = speed(np.random.default_rng(SEED + 1))
        print("speed", metrics["speed"], flush=True)
        write()
    if wanted("fractions"):
        metrics["fractions"] = fractions(np.random.default_rng(SEED + 2))
        print("fractions", metrics["fractions"], flush=True)
        write()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as custom:
        custom.write(CUSTOM)
        custom.flush()
        for name, rules in rules_by_name(custom.name).items():
            if wanted(name):
                shown = asdict(rules) | ({"oxidation_states_set": CUSTOM} if name.endswith("file") else {})
                metrics["parity"][name] = {"rules": shown, **parity(every, rules, options.seconds)}
                print(name, {k: v for k, v in metrics["parity"][name].items() if k != "rules"}, flush=True)
                write()


if __name__ == "__main__":
    main()
