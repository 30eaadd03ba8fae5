"""How good each generator's structures are, by the protocol of ``invdesign evaluate``; a JSON per method.

python benchmarks/generation/generation.py gene-diffusion diffcsp      # some methods
python benchmarks/generation/generation.py all --n 1000 --seeds 0 1 2   # all of them
python benchmarks/generation/generation.py all --potential ../shared/potentials/M3GNet-MP-2021.2.8-matgl4
python benchmarks/generation/generation.py all --n 64 --seeds 0 --second-opinion 7net-0   # by both potentials
python benchmarks/generation/generation.py prompts                # prompts honoured, genes unique
python benchmarks/generation/generation.py speed                  # what sampling costs, by method
python benchmarks/generation/generation.py table                  # README.md from the JSONs

Samples and evaluations stay in --cache: what is done is not done again, what was killed goes on. Metrics
are per seed and pooled; a pooled rate adds up counts, so that duplicates count within a seed.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import prompts
import speed
import table
from methods import GAPS, METHODS, SAMPLES, SAMPLING, Method, sample
from pymatgen.core import Composition

from invdesign.analysis.evaluate.metrics import SUN, EvaluationResult, Rate
from invdesign.analysis.evaluate.record import SampleRecord
from invdesign.analysis.evaluate.run import evaluate
from invdesign.core.target import parse_target
from invdesign.io.atomic import atomic_write

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared"
ANY_GAP = "band_gap=0..20"  # has the gap predicted, for the base rates
KINDS = {
    "O": "oxides",
    **dict.fromkeys(("F", "Cl", "Br", "I"), "halides"),
    **dict.fromkeys(("S", "Se", "Te"), "chalcogenides"),
    **dict.fromkeys(("N", "P", "As", "Sb", "Bi"), "pnictides"),
}
"""Kind of a compound by its most electronegative element."""
EVALUATOR = {"band_gap": "band-gap-evaluator"}  # guided, ranked and selected nothing


def measure(method: Method, seed: int, given: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Return the potential's name and the metrics of one method and seed."""
    if method.generator:
        folder = sample(method, given.n, seed, given.cache, given.workers)
        source, about = folder / SAMPLES, json.loads((folder / SAMPLING).read_text(encoding="utf-8"))
    else:
        source, about = given.shared / "peers" / "diffcsp_mp20.csv.gz", {}
        folder = given.cache / method.name / f"n{given.n}-seed{seed}"
    evaluation = evaluate(
        source,
        target=parse_target(method.target or ANY_GAP),
        potential=given.potential,
        calibration=given.calibration,
        second_opinion=given.second_opinion,
        predictors=EVALUATOR,
        limit=None if method.generator else given.n,
        seed=seed,
        workers=given.workers,
        out=folder / "+".join(Path(name).name for name in (given.potential, given.second_opinion) if name),
    )
    metrics = evaluation.as_json() if method.target else _for(evaluation, None).as_json()
    if not method.target:
        for gap, text in GAPS.items():
            asked = _for(evaluation, text)
            metrics["rates"] |= {
                f"gap {gap}: {name}": asked.rates[name].as_json() for name in _of_target(asked)
            }
    chemistry = {"chemistry": by_chemistry(evaluation)} if given.second_opinion else {}
    return evaluation.protocol["potential"], {"sampling": about, "evaluation": metrics, **chemistry}


def by_chemistry(evaluation: EvaluationResult) -> dict[str, dict[str, int]]:
    """Count readable samples and metastable S.U.N., by each potential and by both, by kind of compound."""
    groups: dict[str, list[SampleRecord]] = {}
    for record in evaluation.records:
        if record.fault:
            continue
        most_electronegative = max(Composition(record.formula), key=lambda element: element.X).symbol
        groups.setdefault(KINDS.get(most_electronegative, "others"), []).append(record)
    counts = {}
    for kind, records in groups.items():
        found = replace(evaluation, records=records, target=None)
        rates = {found.protocol["potential"]: found.rates, **found.second_rates}
        counts[kind] = {"n": len(records), **{by: rates[by][SUN].count for by in rates}}
    return counts


def _for(evaluation: EvaluationResult, target: str | None) -> EvaluationResult:
    """Count the same structures for another target."""
    asked = parse_target(target) if target else None
    protocol = evaluation.protocol | {"target": target}
    return EvaluationResult(evaluation.records, protocol, evaluation.cost, evaluation.hardware, asked)


def _of_target(asked: EvaluationResult) -> list[str]:
    """Return the rates that a target adds."""
    return [name for name in asked.rates if name not in _for(asked, None).rates]


def pooled(seeds: dict[str, Any]) -> dict[str, Any]:
    """Rates of all seeds together, and the least and largest of one seed."""
    every = [entry["evaluation"]["rates"] for entry in seeds.values()]
    rates = {}
    for name in every[0]:
        single = [rates[name]["rate"] for rates in every]
        total = Rate(sum(r[name]["count"] for r in every), sum(r[name]["of"] for r in every))
        rates[name] = total.as_json() | {"of_seeds": [min(single), max(single)]}
    return {"seeds": len(every), "rates": rates}


def store(
    method: Method, seed: int, evaluator: str, metrics: dict[str, Any], given: argparse.Namespace
) -> None:
    """Put one seed's metrics into the method's file; those of another ``n``, models or way go.

    A second opinion stands apart, of one seed and with its own ``n``.
    """
    path, n = given.out / f"{method.name}.json", given.n
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if given.second_opinion:
        _write(path, old | {"second_opinion": {"n": n, "seed": seed, **metrics}})
        return
    evaluators = old.get("evaluators", {}) if old.get("n") == n else {}
    by_seed = {name: entry["by_seed"] for name, entry in evaluators.items()}
    by_seed[evaluator] = by_seed.get(evaluator, {}) | {str(seed): metrics}
    mark = metrics["sampling"].get("mark")
    evaluators = {}
    for name, seeds in by_seed.items():
        same = [key for key in sorted(seeds, key=int) if seeds[key]["sampling"].get("mark") == mark]
        if same:
            kept = {key: seeds[key] for key in same}
            evaluators[name] = {"pooled": pooled(kept), "by_seed": kept}
    report = {"method": method.name, "what": method.what, "n": n, "evaluators": evaluators}
    _write(path, report | {name: old[name] for name in ("second_opinion",) if name in old})


def _write(path: Path, report: dict[str, Any]) -> None:
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*METHODS, "all", "prompts", "speed", "table"])
    parser.add_argument("--n", type=int, default=1000, help="structures a seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--potential", default="chgnet", help="evaluates the structures")
    parser.add_argument("--calibration", help="of the potential; default: the released one")
    parser.add_argument("--second-opinion", help="another potential, asked about the same structures")
    parser.add_argument(
        "--generators", nargs="+", default=["gene-diffusion"], help="whose prompts are checked"
    )
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--cache", type=Path, default=Path(".cache/benchmarks/generation"))
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the JSONs and README.md")
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    given.out.mkdir(parents=True, exist_ok=True)
    others = [] if given.second_opinion else ["prompts", "speed"]
    names = [*METHODS, *others] if "all" in given.parts else given.parts
    for name in names:
        if name == "prompts":
            prompts.check(given.generators, given.n, given.seeds[0], given.out, given.workers)
        if name == "speed":
            speed.time_all(min(given.n, speed.MOST), given.seeds[0], given.out)
        if name not in METHODS:
            continue
        # a file has no seeds, but for which of its structures are drawn
        for seed in given.seeds if METHODS[name].generator or given.n < 1000 else given.seeds[:1]:
            start = time.perf_counter()
            evaluator, metrics = measure(METHODS[name], seed, given)
            store(METHODS[name], seed, evaluator, metrics, given)
            print(
                f"{name}, seed {seed}, evaluated by {evaluator}: {time.perf_counter() - start:.0f} s",
                flush=True,
            )
    (given.out / "README.md").write_text(table.readme(given.out), encoding="utf-8")


if __name__ == "__main__":
    main()
