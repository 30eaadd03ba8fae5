"""README.md from relaxation.json."""

from __future__ import annotations

from typing import Any

HEAD = """# Relaxation and hull: what they cost, and what they find

Generated from `relaxation.json` by `python benchmarks/relaxation/relaxation.py table`; do not edit. Rerun a
part with `relaxation.py evaluation`, `pairs`, `campaign`, `convergence`, `hull`, `threads` or `gpu`. Both
sides run with one thread, and with `MALLOC_MMAP_MAX_=0` and a large trim threshold (the script starts itself
again with these). Ranges are the smallest and the largest of the rounds.
"""

EVALUATION = """## Evaluation (energy, forces, stress)

{n} mp20 crystals of 6 to 14 atoms (mean {mean_atoms:.1f}), atoms moved by 0.1 Å and cells strained by 3 %
(standard deviations of each component). Milliseconds a crystal, against milliseconds an evaluation of
`FIRE(FrechetCellFilter)` with the backend's calculator, in turn; differences are the largest over all
crystals.

"""

PAIRS = """## Pairs

{n} such crystals (mean {mean_atoms:.1f} atoms) relaxed to {fmax} eV/Å in positions and cell, at most
{max_steps} steps. Both criteria are the largest force and the largest row of stress · volume / atoms; ASE's
filter takes both through the deformation since the start, so ours is asked for {ours_stricter} of the limit,
and the largest fmax of a converged end is given by both measures. Our run precedes each quarter of ASE's.
Energies are compared where both converged.
"""

CAMPAIGN = """## A campaign's relaxation

{n} candidates of `{target}`, {starts} starting structures (mean {mean_atoms:.1f} atoms) as the generator, the
gates and pre-ranking give them; CHGNet, fmax {fmax} eV/Å, at most {max_steps[ours]} steps,
{max_steps[ASE]} for ASE's FIRE. A survivor has a converged, plausible structure at most {limit} eV/atom above
the hull. Lost and won are candidates, against the ASE loop. The rows up to early stopping take turns on
chunks of {chunk} candidates; processes are up before the clock starts ({starting_the_processes_s:.0f} s).

"""

CONVERGENCE = """## Convergence

{n} starting structures of {candidates} other candidates, fmax {fmax} eV/Å, {max_steps} steps.

"""

HULL = """## Hull

{n} random compositions of wbm (mean {mean_elements:.1f} elements): {metrics[ours_ms]:.2f} ms each, chemical
system and decomposition included (the hull is loaded in {metrics[loading_s]:.1f} s). SciPy's HiGHS takes
{metrics[highs_ms]:.1f} ms for the linear program alone ({metrics[highs_n]} of them); largest difference
{metrics[largest_difference_ev_atom]:.0e} eV/atom.
"""


def readme(report: dict[str, Any]) -> str:
    """All sections that were measured."""
    parts = [_targets(report)]
    parts += [section(report[name]) for name, section in SECTIONS.items() if name in report]
    return "\n".join([HEAD, *parts, _where(report)])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _range(spread: dict[str, float], digits: int = 1) -> str:
    median, low, high = (f"{spread[key]:.{digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({low}–{high})"


def _targets(report: dict[str, Any]) -> str:
    rows: list[list[str]] = []

    def row(quantity: str, target: str, measured: str, *, met: bool) -> None:
        rows.append([quantity, target, measured, "yes" if met else "no"])

    for label, times in (("CHGNet", 3), ("TensorNet", 6), ("M3GNet", 6)):
        if found := report.get("evaluation", {}).get("metrics", {}).get(label):
            ratio = found["ratio"]
            measured = f"{_range(ratio)} times"
            row(
                f"{label}, evaluation against an ASE step",
                f"≥ {times} times",
                measured,
                met=ratio["median"] >= times,
            )
    for label, pair in report.get("pairs", {}).get("metrics", {}).items():
        own = pair["ours, bfgs"]
        against, faster = own["against_ase"], own["times_faster"]
        share = against["within_5_mev"] / max(against["both_converged"], 1)
        figure = f"{report['pairs']['n']} perturbed crystals, {label}, against ASE"
        row(figure, "≥ 6 times", f"{_range(faster)} times", met=faster["median"] >= 6)
        row(f"{figure}: final energies within 5 meV/atom", "≥ 98 %", f"{share:.0%}", met=share >= 0.98)
    if found := report.get("campaign"):
        _campaign_targets(found["metrics"], row)
    for name, found in report.get("convergence", {}).get("metrics", {}).items():
        rate = found["converged"]
        share = rate["count"] / rate["of"]
        row(
            f"converged, generated crystals, {name}",
            "≥ 98 %",
            f"{share:.1%} of {rate['of']}",
            met=share >= 0.98,
        )
    if found := report.get("hull"):
        ms = found["metrics"]["ours_ms"]
        row("hull, a candidate", "≤ 0.5 ms", f"{ms:.2f} ms", met=ms <= 0.5)
    if batches := _gpu_batches(report.get("gpu", {})):
        times = batches.get("512", {}).get("times_faster_than_ase", 0.0)
        row(
            "512 crystals against one at a time, one GPU", "≥ 50 times", f"{times:.0f} times", met=times >= 50
        )
    return "## Against the targets\n\n" + _table(["quantity", "target", "measured", "met"], rows)


def _campaign_targets(metrics: dict[str, Any], row: Any) -> None:  # noqa: ANN401 - the closure above
    _, free, symmetric, stopping, last = metrics.values()
    saved = 1 - stopping["evaluations"] / symmetric["evaluations"]
    lost = stopping["lost_against_row_before"] / max(symmetric["survivors"], 1)
    times, each = last["times_faster"], last["times_faster_per_survivor"]
    measured = f"{times:.1f} times, {each:.1f} per survivor"
    row(
        "a campaign's relaxation, two cores, wall time", "≥ 8 times less", measured, met=min(times, each) >= 8
    )
    same = free["within_5_mev"] / max(free["both_converged"], 1)
    measured = f"{same:.0%}; {free['lower']} lower, {free['higher']} higher"
    row("generated crystals, final energies within 5 meV/atom", "≥ 98 %", measured, met=same >= 0.98)
    row("early stopping, potential calls saved (this run)", "≥ 30 %", f"{saved:.0%}", met=saved >= 0.3)
    row("early stopping, survivors lost (this run)", "≤ 1 %", f"{lost:.1%}", met=lost <= 0.01)


def _gpu_batches(section: dict[str, Any]) -> dict[str, Any]:
    metrics = section.get("metrics")
    batches: dict[str, Any] = metrics["batches"] if isinstance(metrics, dict) else {}
    return batches


def _evaluation(section: dict[str, Any]) -> str:
    rows = [
        [
            label,
            _range(found["ours_ms"]),
            f"{found['ours_one_at_a_time_ms']:.1f}",
            _range(found["ase_step_ms"]),
            f"{found['of_it_in_the_calculator_ms']:.1f}",
            _range(found["ratio"]),
            " / ".join(f"{value:.0e}" for value in found["largest_differences"].values()),
        ]
        for label, found in section["metrics"].items()
    ]
    head = [
        "",
        "ours, batched",
        "ours, alone",
        "ASE step",
        "its calculator",
        "times",
        "difference: eV, eV/Å, eV/Å³",
    ]
    return EVALUATION.format(**section) + _table(head, rows)


def _threads(section: dict[str, Any]) -> str:
    rows = [
        [name.removesuffix("_ms").replace("_", " "), _range(ms)] for name, ms in section["metrics"].items()
    ]
    head = f"## Threads and processes\n\nCHGNet, {section['n']} crystals a batch.\n\n"
    return head + _table(["", "ms a crystal"], rows)


def _pairs(section: dict[str, Any]) -> str:
    text = PAIRS.format(**section)
    for label, found in section["metrics"].items():
        rows = [_pair_row(name, row) for name, row in found.items()]
        head = [
            "",
            "wall s",
            "times faster",
            "steps",
            "converged",
            "fmax ours / ASE's",
            "≤ 5 meV",
            "lower",
            "higher",
        ]
        text += f"\n**{label}** (meV/atom against ASE's ends)\n\n" + _table(head, rows)
    return text


def _pair_row(name: str, row: dict[str, Any]) -> list[str]:
    against = row.get("against_ase")
    return [
        name,
        *(_either(row.get(key)) for key in ("wall_s", "times_faster")),
        f"{row['steps']:.1f}",
        str(row["converged"]),
        f"{row['largest_fmax']:.3f} / {row['largest_fmax_as_ase_counts']:.3f}",
        f"{against['within_5_mev']} of {against['both_converged']}" if against else "",
        *(str(against[key]) if against else "" for key in ("ours_lower", "theirs_lower")),
    ]


def _either(value: dict[str, float] | float | None) -> str:
    if value is None:
        return ""
    return _range(value) if isinstance(value, dict) else f"{value:.1f}"


def _campaign(section: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{row['wall_s']:.1f}",
            str(row["evaluations"]),
            f"{row['converged']} / {row['stopped_early']}",
            str(row["survivors"]),
            f"{row['lost']} / {row['won']}",
            f"{row['lost_against_row_before']} / {row['won_against_row_before']}",
            f"{row['within_5_mev']} of {row['both_converged']} ({row['lower']} / {row['higher']})",
            f"{row['times_faster']:.1f}",
            f"{row['times_faster_per_survivor']:.1f}",
        ]
        for name, row in section["metrics"].items()
    ]
    head = [
        "",
        "wall s",
        "evaluations",
        "converged / stopped early",
        "survivors",
        "lost / won",
        "against row before",
    ]
    head += ["≤ 5 meV (lower / higher)", "times faster", "per survivor"]
    return CAMPAIGN.format(**section) + _table(head, rows)


def _convergence(section: dict[str, Any]) -> str:
    rows = []
    for name, found in section["metrics"].items():
        rate = found["converged"]
        rest = ", ".join(f"{count} {reason}" for reason, count in found["the_rest"].items()) or "none"
        kept = f"{found['symmetry_kept']} / {found['symmetry_broken']}"
        rows.append([name, f"{rate['count']} of {rate['of']}", f"{found['steps']:.1f}", kept, rest])
    head = ["", "converged", "steps", "symmetry kept / broken", "the rest"]
    return CONVERGENCE.format(**section) + _table(head, rows)


def _hull(section: dict[str, Any]) -> str:
    return HULL.format(**section)


def _gpu(section: dict[str, Any]) -> str:
    if not (batches := _gpu_batches(section)):
        return "## GPU\n\nNot measured: there was no GPU.\n"
    found = section["metrics"]
    rows = [
        [
            size,
            f"{row['evaluation_ms_per_crystal']:.2f}",
            f"{1000 * row['relaxation_s_per_crystal']:.1f}",
            f"{row['times_faster_than_ase']:.0f}",
        ]
        for size, row in batches.items()
    ]
    return (
        f"## GPU\n\nOne at a time: ASE {found['ase_s_per_crystal']:.1f} s a relaxation, ours "
        f"{found['ours_one_at_a_time_s_per_crystal']:.2f} s.\n\n"
        + _table(["crystals", "ms an evaluation", "ms a relaxation", "times faster than ASE"], rows)
    )


def _where(report: dict[str, Any]) -> str:
    rows = []
    for name, section in report.items():
        where = section["where"]
        packages = ", ".join(f"{k} {where['packages'].get(k)}" for k in ("torch", "ase", "chgnet", "matgl"))
        load = f"{where['load_at_start']:.1f} to {where['load_at_end']:.1f}"
        machine = f"{where['hardware']['cpu']}, {where['hardware']['cores']} cores"
        revision = str(where["git_revision"])[:8] + ("+" if "+changes" in str(where["git_revision"]) else "")
        minutes = f"{where['minutes']:.1f}"
        rows.append(
            [name, where["written"], minutes, load, str(section["seed"]), revision, machine, packages]
        )
    head = ["part", "written", "minutes", "load", "seed", "revision", "machine", "packages"]
    return "## Where\n\n" + _table(head, rows)


SECTIONS = {
    "evaluation": _evaluation,
    "pairs": _pairs,
    "campaign": _campaign,
    "convergence": _convergence,
    "hull": _hull,
    "threads": _threads,
    "gpu": _gpu,
}
