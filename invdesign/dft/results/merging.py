"""One candidate's runs as one result: each figure from the task that gives it best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ENERGY = ("relax", "static", "gap")  # tasks in the order in which a figure is taken from them
GAP = ("gap", "static", "relax")  # along the path; on the denser grid
ENDED_BADLY = frozenset({"failed", "not converged"})
FIGURES: dict[str, tuple[str, ...]] = {
    "band_gap": GAP,
    "direct": GAP,
    "formation_energy_per_atom": ENERGY,
    "e_above_hull": ENERGY,
    "energy_per_atom": ENERGY,
    "scale": ENERGY,
    "volume_per_atom": ("relax",),
    "rmsd": ("relax",),
    "lowest_frequency": ("phonon-check",),
}
"""Figures of a run record, and the tasks that they are taken from, best first."""

Run = dict[str, Any]
"""A row of a collection in short, as a campaign keeps it: folder, code, functional, task, status, figures."""


def run_of(row: dict[str, Any]) -> Run:
    """What of a row a campaign keeps."""
    names = {"band_gap": "band_gap_dft", "direct": "gap_is_direct", "volume_per_atom": "volume_dft"}
    names |= {"formation_energy_per_atom": "formation_energy_dft", "e_above_hull": "e_above_hull_dft"}
    kept = ("folder", "code", "functional", "task", "status", "reason")
    figures = {name: row[names.get(name, name)] for name in FIGURES}
    return {name: row[name] for name in kept} | {k: v for k, v in figures.items() if v is not None}


def merged(runs: Sequence[Run]) -> dict[str, Any] | None:
    """A candidate's runs as one result; None where none has come to an end.

    Of several codes the one whose energies reach the hull's scale counts, then the one with more tasks done;
    of several runs of one task the one with the lowest energy. What did not count is in ``notes``.

    Args:
        runs: all of the candidate, in any order.

    Returns:
        The figures (``docs/dft.md``), or ``{"failed": reason}`` where every run ended badly;
        with ``runs``, from which they came.
    """
    runs = sorted(runs, key=lambda run: (run["code"], run["task"] or "", run["folder"]))
    done = [run for run in runs if run["status"] == "done"]
    if not done:
        if not runs or any(run["status"] not in ENDED_BADLY for run in runs):
            return None
        return {"failed": "; ".join(f"{run['folder']}: {run['reason']}" for run in runs), "runs": runs}
    codes = sorted({run["code"] for run in done}, key=_worth(done))
    counted = sorted((run for run in done if run["code"] == codes[0]), key=_energy)
    figures = {}
    for name, tasks in FIGURES.items():
        if (run := _first(counted, name, tasks)) is not None:
            figures[name] = run[name]
    best = _first(counted, "energy_per_atom", ENERGY) or counted[0]
    return {
        "code": codes[0],
        "functional": best["functional"],
        "tasks": sorted({run["task"] for run in counted if run["task"]}),
        "folder": best["folder"],
        **figures,
        "notes": _asides(runs, counted),
        "runs": runs,
    }


def _worth(done: Sequence[Run]) -> Callable[[str], tuple[bool, int, str]]:
    def key(code: str) -> tuple[bool, int, str]:
        own = [run for run in done if run["code"] == code]
        return not any("e_above_hull" in run for run in own), -len({run["task"] for run in own}), code

    return key


def _energy(run: Run) -> float:
    return float(run.get("energy_per_atom", 0.0))


def _first(runs: Sequence[Run], name: str, tasks: Sequence[str]) -> Run | None:
    """The run that a figure is taken from; runs without a task (of no manifest) come last."""
    for task in (*tasks, None):
        for run in runs:
            if run["task"] == task and name in run:
                return run
    return None


def _asides(runs: Sequence[Run], counted: Sequence[Run]) -> list[str]:
    """Other codes' runs, runs of a task that was computed twice, and those that came to nothing."""
    notes = []
    seen: dict[str | None, Run] = {}
    for run in counted:
        first = seen.setdefault(run["task"], run)
        if first is not run:
            notes.append(f"{run['task']} twice: {first['folder']} counts, not {run['folder']}")
    for run in runs:
        if run["status"] != "done":
            notes.append(f"{run['folder']}: {run['status']}")
        elif run["code"] != counted[0]["code"]:
            gap = f", gap {run['band_gap']:.2f} eV" if "band_gap" in run else ""
            notes.append(f"also by {run['code']} in {run['folder']}{gap}")
    return notes
