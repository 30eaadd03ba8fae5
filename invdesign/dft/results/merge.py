"""One candidate's runs as one result: each figure from the task that gives it best."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.registry import CODES, get_code

if TYPE_CHECKING:
    from collections.abc import Sequence

ENERGY = ("relax", "static", "gap")  # tasks in the order in which a figure is taken from them
GAP = ("gap", "static", "relax")  # along the path; on the denser grid
VIBRATIONS = "phonon-check"
ENDED_BADLY = frozenset({"failed", "not converged"})
OF_ENERGY = ("energy_per_atom", "formation_energy_per_atom", "e_above_hull", "scale")  # of one run
OF_GAP = ("band_gap", "direct")
OF_CELL = ("volume_per_atom", "rmsd")
OF_VIBRATIONS = ("lowest_frequency",)
FIGURES = (*OF_GAP, *OF_ENERGY, *OF_CELL, *OF_VIBRATIONS)
"""Figures of a run record."""

Run = dict[str, Any]
"""A row of a collection in short, as a campaign keeps it: folder, code, settings, task, status, …"""


def run_of(row: dict[str, Any]) -> Run:
    """What of a row a campaign keeps."""
    names = {"band_gap": "band_gap_dft", "direct": "gap_is_direct", "volume_per_atom": "volume_dft"}
    names |= {"formation_energy_per_atom": "formation_energy_dft", "e_above_hull": "e_above_hull_dft"}
    kept = ("folder", "code", "functional", "settings", "task", "status", "reason")
    figures = {name: row[names.get(name, name)] for name in FIGURES}
    return {name: row[name] for name in kept} | {k: v for k, v in figures.items() if v is not None}


def merged(runs: Sequence[Run]) -> dict[str, Any] | None:
    """A candidate's runs as one result; None where none has come to an end.

    Runs that compare, of one code with one functional and the same settings, are a group, and one group
    counts (:func:`_worth`); energy, height and scale come from one of its runs. The lowest frequency
    compares with no energy: any phonon check will do, those of the same code first.

    Args:
        runs: all of the candidate, in any order.

    Returns:
        The figures (``docs/reference/tables.md``), or ``{"failed": reason}`` where every run ended badly;
        with ``runs``, from which they came.
    """
    runs = sorted(runs, key=lambda run: (run["code"], run["task"], run["folder"]))
    done = [run for run in runs if run["status"] == "done"]
    if not done:
        if not runs or any(run["status"] not in ENDED_BADLY for run in runs):
            return None
        return {"failed": "; ".join(f"{run['folder']}: {run['reason']}" for run in runs), "runs": runs}
    checks = [run for run in done if run["task"] == VIBRATIONS]
    # earlier versions stored no settings: such runs go with those of the same code and functional
    stated = {(run["code"], run["functional"]): run["settings"] for run in done if run.get("settings")}
    groups: dict[tuple[str, str | None, str | None], list[Run]] = defaultdict(list)
    for run in done:
        if run["task"] != VIBRATIONS:
            of = run["code"], run["functional"]
            groups[*of, run.get("settings") or stated.get(of)].append(run)
    group = min(groups.values(), key=_worth) if groups else checks
    group = sorted(group, key=_energy)
    same = [run for run in checks if run["code"] == group[0]["code"]]
    vibrating = same or checks[:1]
    best = _first(group, "e_above_hull", ENERGY) or _first(group, "energy_per_atom", ENERGY) or group[0]
    counted = [*group, *(run for run in vibrating if run not in group)]
    sources = {
        OF_GAP: _first(group, "band_gap", GAP),
        OF_ENERGY: best,
        OF_CELL: _first(group, "volume_per_atom", ("relax",)),
        OF_VIBRATIONS: _first(vibrating, "lowest_frequency", (VIBRATIONS,)),
    }
    return {
        "code": best["code"],
        "functional": best["functional"],
        "tasks": sorted({run["task"] for run in counted}),
        "folder": best["folder"],
        **{name: run[name] for names, run in sources.items() if run for name in names if name in run},
        "notes": _asides(runs, counted),
        "runs": runs,
    }


def _worth(group: list[Run]) -> tuple[bool, bool, bool, bool, int, str, str]:
    """The less, the better: a height, PBE (as the predictions), not a second opinion, a relaxed cell."""
    first = group[0]
    tasks = {run["task"] for run in group}
    return (
        not any("e_above_hull" in run for run in group),
        first["functional"] != "PBE",
        _is_second_opinion(first["code"]),
        "relax" not in tasks,
        -len(tasks),
        first["code"],
        first["folder"],
    )


def _is_second_opinion(code: str) -> bool:
    """Whether its results count only where no other code has any; a plug-in may be gone since."""
    return code in CODES.names() and get_code(code).second_opinion


def _energy(run: Run) -> float:
    return float(run.get("energy_per_atom", 0.0))


def _first(runs: Sequence[Run], name: str, tasks: Sequence[str]) -> Run | None:
    """The run that a figure is taken from."""
    found = (run for task in tasks for run in runs if run["task"] == task and name in run)
    return next(found, None)


def _asides(runs: Sequence[Run], counted: Sequence[Run]) -> list[str]:
    """Runs of other groups, runs of a task that was computed twice, and those that came to nothing."""
    notes = []
    seen: dict[str, Run] = {}
    for run in counted:
        first = seen.setdefault(run["task"], run)
        if first is not run:
            notes.append(f"{run['task']} twice: {first['folder']} counts, not {run['folder']}")
    for run in runs:
        if run["status"] != "done":
            notes.append(f"{run['folder']}: {run['status']}")
        elif run not in counted:
            gap = f", gap {run['band_gap']:.2f} eV" if "band_gap" in run else ""
            notes.append(f"also by {_how(run, counted[0])} in {run['folder']}{gap}")
    return notes


def _how(run: Run, counted: Run) -> str:
    """In what a run differs from the one that counts."""
    if run["code"] != counted["code"]:
        return str(run["code"])
    if run["functional"] != counted["functional"]:
        return f"{run['code']} with {run['functional']}"
    return f"{run['code']} at other settings"
