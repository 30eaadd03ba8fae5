"""README.md of the generation benchmark, from its JSON files alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from methods import GAPS, METHODS
from prompts import FILE as PROMPTS

if TYPE_CHECKING:
    from pathlib import Path

RATES = {
    "valid": "valid",
    "unique": "unique",
    "novel": "novel composition",
    "framework new": "novel framework",
    "stable 0.1": "stable at 0.1",
    "**metastable S.U.N.**": "S.U.N. at 0.1 (novel composition)",
    "S.U.N. at 0.05": "S.U.N. at 0.05 (novel composition)",
    "S.U.N. at 0": "S.U.N. at 0 (novel composition)",
    "metastable S.U.N., novel framework": "S.U.N. at 0.1 (novel framework)",
}
GOOD = "on target, valid and stable at 0.1"


def readme(folder: Path) -> str:
    """The page."""
    reports = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in METHODS
        if (folder / f"{name}.json").exists()
    }
    judges = sorted({judge for report in reports.values() for judge in report["judges"]})
    parts = [_head()]
    for judge in judges:
        own = {name: report for name, report in reports.items() if judge in report["judges"]}
        parts += [f"## Judged by {judge}", _rates(own, judge), _gaps(own, judge), _cost(own, judge)]
    if (folder / PROMPTS).exists():
        parts.append(_prompts(json.loads((folder / PROMPTS).read_text(encoding="utf-8"))))
    return "\n\n".join(part for part in parts if part) + "\n"


def _head() -> str:
    return """# Generators compared

By the protocol of `invdesign evaluate` ([docs/evaluate.md](../../docs/evaluate.md)): every rate is of the
structures sampled, relaxed one by one with the potential named, placed on `mp-hull`, novel against
`known-materials`; brackets are 95 % intervals (Wilson) over all seeds. Universal potentials overcount:
CHGNet inflates strict S.U.N. 2 to 4 times over DFT. Written by `generation.py` from the JSON files here,
which hold versions, seeds, hardware and every figure per seed."""


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join([_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)])


def _told(rate: dict[str, Any] | None) -> str:
    if rate is None:
        return ""
    low, high = rate["interval_95"]
    return f"{rate['rate']:.2f} ({low:.2f} to {high:.2f})"


def _rates(reports: dict[str, Any], judge: str) -> str:
    rows = []
    for name, report in reports.items():
        pooled = report["judges"][judge]["pooled"]
        figures = [_told(pooled["rates"].get(rate)) for rate in RATES.values()]
        rows.append([f"`{name}`", report["what"], f"{report['n']} × {pooled['seeds']}", *figures])
    return _table(["method", "what", "samples", *RATES], rows)


def _gaps(reports: dict[str, Any], judge: str) -> str:
    """What was asked for against what comes unasked, per target."""
    rows = []
    for gap, text in GAPS.items():
        for name, report in reports.items():
            rates = report["judges"][judge]["pooled"]["rates"]
            prefix = "" if name == f"gap-{gap}" else f"gap {gap}: "
            if (good := rates.get(prefix + GOOD)) is None or (name.startswith("gap-") and prefix):
                continue
            window = next(rate for key, rate in rates.items() if key.startswith(f"{prefix}band_gap in"))
            asked = "asked" if not prefix else "unasked"
            rows.append([text, f"`{name}`", asked, _told(window), _told(good), _told(rates[prefix + "hit"])])
    head = [
        "target",
        "method",
        "",
        "in window",
        "in window, valid and metastable",
        "hits (new, distinct too)",
    ]
    return (
        "In the window by the `band-gap` model, which guides no generator.\n\n" + _table(head, rows)
        if rows
        else ""
    )


def _cost(reports: dict[str, Any], judge: str) -> str:
    rows = []
    for name, report in reports.items():
        seeds = list(report["judges"][judge]["by_seed"].values())
        judged = [seed["evaluation"] for seed in seeds]
        core = sum(stage["core"] for one in judged for stage in one["cost_s"].values())
        n = sum(one["sampled"] for one in judged)
        speed = [seed["sampling"].get("genes_with_geometry_per_second") for seed in seeds]
        rmsd = [one["medians"]["rmsd"] for one in judged if one["medians"]["rmsd"] is not None]
        rows.append(
            [
                f"`{name}`",
                "" if None in speed else f"{min(speed):.0f} to {max(speed):.0f}",
                str(seeds[0]["sampling"].get("workers", "")),
                "" if not rmsd else f"{sum(rmsd) / len(rmsd):.3f}",
                f"{sum(one['medians']['steps'] or 0 for one in judged) / len(judged):.0f}",
                f"{core / n:.2f}",
            ]
        )
    hardware = next(iter(reports.values()))["judges"][judge]["by_seed"]
    machine = next(iter(hardware.values()))["evaluation"]["hardware"]
    head = [
        "method",
        "structures sampled a second",
        "processes",
        "RMSD to relaxed, Å",
        "steps",
        "core s to judge one",
    ]
    return f"{machine['cpu']}, {machine['cores']} cores.\n\n" + _table(head, rows)


def _prompts(report: dict[str, Any]) -> str:
    rows = []
    for name, entry in report.items():
        for prompt, share in entry["honoured"].items():
            told = f"{share:.4f}" if isinstance(share, float) else share
            rows.append([f"`{name}`", f"`{prompt}`", str(entry["n"]), told])
    unique = "; ".join(
        f"`{name}`: {entry['unique']['count']} of {entry['unique']['of']} genes are different, "
        f"{entry['genes_per_second']:.0f} genes a second in one process"
        for name, entry in report.items()
    )
    return (
        "## Prompts honoured\n\n"
        + _table(["generator", "prompt", "genes", "as asked"], rows)
        + f"\n\n{unique}."
    )
