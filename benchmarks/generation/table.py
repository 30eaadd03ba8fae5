"""README.md of the generation benchmark, from its JSON files alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from methods import GAPS, METHODS
from prompts import FILE as PROMPTS
from speed import FILE as SPEED

if TYPE_CHECKING:
    from pathlib import Path

SUN = "S.U.N. at 0.1 (novel composition)"
SHARES = {
    "valid": "valid",
    "unique": "unique",
    "new composition": "novel composition",
    "stable at 0.1": "stable at 0.1",
}
COUNTED = {
    "**metastable S.U.N., new composition**": SUN,
    "metastable S.U.N., new gene": "S.U.N. at 0.1 (novel gene)",
    "hits": "hit",
}
STRICTER = {
    "S.U.N. at 0.05": "S.U.N. at 0.05 (novel composition)",
    "S.U.N. at 0": "S.U.N. at 0 (novel composition)",
    "valid too, at 0.1": "metastable S.U.N. and valid",
    "no ordering of a known alloy, at 0.1": "metastable S.U.N., no such ordering",
    "new prototype": "novel prototype",
    "metastable S.U.N., new prototype": "S.U.N. at 0.1 (novel prototype)",
}
GOOD = "on target, valid and stable at 0.1"
BASE = ("gene-diffusion-unconditional", "gene-diffusion", "diffcsp")  # what comes unasked


def readme(folder: Path) -> str:
    """Return the page."""
    reports = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in METHODS
        if (folder / f"{name}.json").exists()
    }
    evaluators = sorted({evaluator for report in reports.values() for evaluator in report["evaluators"]})
    path = folder / SPEED
    speed = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    parts = [_head() + _draws(speed), _what(reports)]
    for evaluator in evaluators:
        chosen = {name: report for name, report in reports.items() if evaluator in report["evaluators"]}
        parts += [
            f"## Evaluated by {evaluator}",
            _rates(chosen, evaluator),
            _gaps(chosen, evaluator),
            _stricter(chosen, evaluator),
        ]
        parts += [_cost(chosen, evaluator, speed)]
    parts.append(_second_opinion(reports))
    if (folder / PROMPTS).exists():
        report = json.loads((folder / PROMPTS).read_text(encoding="utf-8"))
        parts += [_prompts(report), _many(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head() -> str:
    return """# Generators compared

By the protocol of `invdesign evaluate` ([evaluate](../../docs/guide/evaluate.md)): every rate is of the
structures sampled, relaxed one by one with the potential named, placed on `mp-hull`, novel against
`known-materials`; brackets are 95 % intervals (Wilson) over all seeds. Metastable: at most 0.1 eV/atom above
the hull. Written by `generation.py` from the JSON files here, which hold versions, seeds, hardware and every
metric per seed.

**How to read it**

- Universal potentials overcount: CHGNet inflates strict S.U.N. 2 to 4 times over DFT. Compare rows, and take
  no rate for one by DFT.
- No generator, geometry or ranker here was trained on CHGNet, the evaluator: `relaxed-genes`, from which
  `gene-diffusion` and `gene-rank` learn in addition to DFT data, was relaxed with M3GNet. Results evaluated
  by M3GNet are thus not independent.
- `…-ranked` is what a campaign relaxes, no raw samples: of sixteen genes proposed for each structure it
  keeps those that balance and whose composition is not known, and of these the ones that `gene-rank` takes to
  be stable and in the window, at most a few of one formula or prototype. Balanced, unique and new it is by
  selection. `…-of-8` is what `invdesign generate` proposes where a property is asked for: of eight genes
  drawn for each the likeliest hits by `gene-rank`, new compositions before known ones.
- Hits: distinct, new composition, valid, metastable, and the gap in the window by `band-gap-evaluator`, a
  graph network of another family than `band-gap`, which ranks, selects and predicted the gaps of
  `relaxed-genes`. Its error (0.5 eV on non-metals) puts many a crystal in a window of ±0.25 eV
  outside, and the other way.
- The other methods' rows are as `invdesign generate` gives them, no raw samples either: `gene-diffusion`
  draws genes that do not balance again, `crystal-vae` drops those of its spares without room, and genes that
  repeat or whose composition is known give way to others. What was left out is in no denominator. Of ours
  only `gene-diffusion-unconditional` is raw draws."""


def _draws(speed: dict[str, Any]) -> str:
    """List the genes drawn for each structure."""
    shown = [f"`{name}` {_per_structure(entry)}" for name, entry in speed.items() if name in METHODS]
    return "\n  Genes drawn for a structure that is given: " + ", ".join(shown) + "." if shown else ""


def _per_structure(entry: dict[str, Any]) -> str:
    return f"{entry['genes_drawn'] / entry['n']:.2f}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join([_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)])


def _share(rate: dict[str, Any] | None) -> str:
    return "" if rate is None else f"{rate['rate']:.3f}"


def _with_interval(rate: dict[str, Any] | None) -> str:
    if rate is None:
        return ""
    low, high = rate["interval_95"]
    return f"{rate['rate']:.3f} ({low:.3f} to {high:.3f})"


def _what(reports: dict[str, Any]) -> str:
    return "\n".join(f"- `{name}`: {METHODS[name].what}" for name in reports)


def _rates(reports: dict[str, Any], evaluator: str) -> str:
    rows = []
    for name, report in reports.items():
        pooled = report["evaluators"][evaluator]["pooled"]
        rates, seeds = pooled["rates"], list(report["evaluators"][evaluator]["by_seed"].values())
        rmsd = [seed["evaluation"]["medians"]["rmsd"] for seed in seeds]
        rmsd = [value for value in rmsd if value is not None]
        rows.append(
            [
                f"`{name}`",
                f"{report['n']} × {pooled['seeds']}",
                *(_share(rates.get(rate)) for rate in SHARES.values()),
                *(_with_interval(rates.get(rate)) for rate in COUNTED.values()),
                f"{sum(rmsd) / len(rmsd):.3f}" if rmsd else "",
            ]
        )
    head = ["method", "samples", *SHARES, *COUNTED, "RMSD to relaxed, Å"]
    return (
        _table(head, rows)
        + "\n\nEmpty: not known. RMSD: median of those that relaxed into the crystal sampled."
    )


def _gaps(reports: dict[str, Any], evaluator: str) -> str:
    """Compare conditional with unconditional samples, per target."""
    pooled = {name: report["evaluators"][evaluator]["pooled"]["rates"] for name, report in reports.items()}
    base = [name for name in BASE if name in pooled]
    rows = []
    for gap, text in GAPS.items():
        if f"gap-{gap}" not in pooled:
            continue
        asked = pooled[f"gap-{gap}"]
        window = next(rate for rate in asked if rate.startswith("band_gap in"))
        named = {"in window": window, "in window, valid, metastable": GOOD, "hits": "hit"}
        for what, rate in named.items():
            unasked = [_with_interval(pooled[name].get(f"gap {gap}: {rate}")) for name in base]
            best = _with_interval(pooled.get(f"gap-{gap}-of-8", {}).get(rate))
            rows.append([f"`{text}`", what, _with_interval(asked[rate]), best, *unasked])
    if not rows:
        return ""
    unasked = [f"unconditional: `{name}`" for name in base]
    head = ["target", "share of the structures", "raw", "as `generate` gives it: best of 8", *unasked]
    return "### Conditioned on a band gap, eV\n\n" + _table(head, rows)


def _stricter(reports: dict[str, Any], evaluator: str) -> str:
    rows = []
    for name, report in reports.items():
        found = report["evaluators"][evaluator]
        evaluated = [seed["evaluation"] for seed in found["by_seed"].values()]
        steps = sum(one["medians"]["steps"] or 0 for one in evaluated) / len(evaluated)
        rows.append(
            [
                f"`{name}`",
                *(_share(found["pooled"]["rates"].get(rate)) for rate in STRICTER.values()),
                f"{steps:.0f}",
            ]
        )
    return "### Stricter counts\n\n" + _table(["method", *STRICTER, "steps (median)"], rows)


def _cost(reports: dict[str, Any], evaluator: str, speed: dict[str, Any]) -> str:
    """Return the yield of a core hour; the cost of sampling comes from `speed.json`."""
    rows = []
    for name, report in reports.items():
        found = report["evaluators"][evaluator]
        evaluated = [seed["evaluation"] for seed in found["by_seed"].values()]
        core = sum(stage["core"] for one in evaluated for stage in one["cost_s"].values())
        evaluating = core / sum(one["sampled"] for one in evaluated)
        cells = ["", "", ""]
        if entry := speed.get(name):
            sampling = entry["core_seconds"] / entry["n"]
            yielded = found["pooled"]["rates"][SUN]["rate"] / (sampling + evaluating) * 3600
            cells = [f"{1 / sampling:.1f}", f"{sampling:.3f}", f"{yielded:.0f}"]
        rows.append([f"`{name}`", *cells[:2], f"{evaluating:.2f}", cells[2]])
    head = [
        "method",
        "structures a core second",
        "core s to sample one",
        "core s to evaluate one",
        "metastable S.U.N. (new composition) per core hour, sampling and evaluation together",
    ]
    timed = "; ".join(
        sorted(
            {
                f"{entry['hardware']['cpu']}, invdesign at `{entry['git_revision'][:10]}`"
                for name, entry in speed.items()
                if name in reports
            }
        )
    )
    note = (
        "\n\nCore seconds: summed over processes. Sampling was timed by itself in one process, "
        f"models loaded before ({timed or 'not yet'}); evaluation as it ran, next to other jobs. "
        "Empty: not known."
    )
    return "### What it cost\n\n" + _table(head, rows) + note


def _second_opinion(reports: dict[str, Any]) -> str:
    """Return what each of two potentials takes for stable, and what both do."""
    rows, potentials = [], ["", ""]
    for name, report in reports.items():
        if (asked := report.get("second_opinion")) is None:
            continue
        found = asked["evaluation"]
        potentials = [found["protocol"]["potential"], found["protocol"]["second_opinion"]["potential"]]
        by = [found["rates"], found["second_opinion"][potentials[1]], found["second_opinion"]["both"]]
        medians = [found["medians"][key] for key in ("e_above_hull", "second_e_above_hull")]
        rows.append(
            [
                f"`{name}`",
                str(asked["n"]),
                *(_with_interval(rates[SUN]) for rates in by),
                *(_share(rates["S.U.N. at 0 (novel composition)"]) for rates in by),
                *(_share(rates.get("hit")) for rates in by),
                *("" if median is None else f"{median:.3f}" for median in medians),
            ]
        )
    if not rows:
        return ""
    kinds = ("oxides", "halides", "chalcogenides", "pnictides", "others")
    chemistry = []
    for name, report in reports.items():
        counts = report.get("second_opinion", {}).get("chemistry", {})
        cells = [counts.get(kind, {"n": 0}) for kind in kinds]
        if counts:
            shown = [f"{c[potentials[0]]}, {c['both']} of {c['n']}" if c["n"] else "" for c in cells]
            chemistry.append([f"`{name}`", *shown])
    first, second = potentials
    head = ["method", "structures", f"metastable S.U.N., by {first}", f"by {second}", "by both"]
    head += [f"S.U.N. at 0, by {first}", f"by {second}", "by both", f"hits, by {first}", f"by {second}"]
    head += ["by both", f"median E above hull, eV/atom, by {first}", f"by {second}"]
    return (
        f"## By two potentials\n\n`--second-opinion {second}`: {second} relaxes on from where {first} ended. "
        "S.U.N. is of new compositions; duplicates and novelty are those of the first potential's crystals. "
        "By both: the higher of the two energies above hull counts. Other draws, and fewer, than above.\n\n"
        + _table(head, rows)
        + "\n\nWhat chemistry the yield comes from: metastable S.U.N. "
        + f"by {first}, by both, of the structures of each kind (by the most electronegative element):\n\n"
        + _table(["method", *kinds], chemistry)
    )


def _prompts(report: dict[str, Any]) -> str:
    rows = []
    for name, entry in report.items():
        for prompt, share in entry["honoured"].items():
            shown = f"{share:.4f}" if isinstance(share, float) else share
            found = entry.get("structures", {}).get(prompt)
            shares = ["", "", ""]
            if found is not None:
                shares = [str(found["of"]), f"{found['as_asked']:.3f}", f"{found['same_space_group']:.3f}"]
            rows.append([f"`{name}`", f"`{prompt}`", str(entry["n"]), shown, *shares])
    head = ["generator", "prompt", "genes", "genes as asked", "structures", "structures as asked"]
    return (
        "## Prompts honoured\n\nGenes are as asked by construction. A structure has one geometry and is not "
        "relaxed; its gene is found again from the atoms alone (0.1 Å), and they may have settled on a "
        "higher symmetry than that of the gene drawn.\n\n"
        + _table([*head, "structures in the space group drawn"], rows)
    )


def _many(report: dict[str, Any]) -> str:
    """Return what ``generate -n 10000`` gives."""
    rows = []
    for name, entry in report.items():
        if "speed" not in entry:  # its genes were not drawn by `generate`
            continue
        seconds, workers = entry["speed"]["wall_seconds"], entry["speed"]["workers"]
        count, n = entry["unique"]["count"], entry["unique"]["of"]
        plain = entry["unique_drawn"]["count"] if "unique_drawn" in entry else ""
        values = (n, count, plain, f"{seconds:.0f}", workers, f"{n / seconds:.0f}", entry["hardware"]["cpu"])
        rows.append([f"`{name}`", *map(str, values)])
    if not rows:
        return ""
    head = ["generator", "proposals", "different genes", "different where nothing is drawn again"]
    head += ["wall s", "processes", "a second", "processor"]
    return (
        "## Many at once\n\n`invdesign generate` without a target: gene and geometry, from start to end, "
        "loading included.\n\n" + _table(head, rows)
    )
