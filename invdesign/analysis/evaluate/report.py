"""Print an evaluation, alone or compared with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.analysis.evaluate.metrics import EvaluationResult
from invdesign.errors import InputError, quoted
from invdesign.io.config import read_json
from invdesign.io.console import print_whole

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def rates_table(result: EvaluationResult, others: Mapping[str, Mapping[str, Any]] | None = None) -> Table:
    """Return the rates as a rich table.

    Args:
        result: of this set.
        others: JSON of other evaluations by name; each adds a column.
    """
    from rich.table import Table

    shown = result.protocol
    title = (
        f"{len(result.records)} crystals sampled{'' if shown['relax'] else ', not relaxed'}; "
        f"{shown['potential']} on {shown['hull']}, "
        f"novel against {shown['reference']} ({shown['reference_compositions']:,} compositions, "
        f"{shown['reference_crystals']:,} crystals)"
    )
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("share of the crystals sampled", style="cyan", overflow="fold")
    for name in ("count", "rate", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in (*(f"by {name}" for name in result.second_rates), *(others or {})):
        table.add_column(name, justify="right", overflow="fold", min_width=len("0.123"))
    for name, rate in result.rates.items():
        low, high = rate.interval
        second = [rates.get(name) for rates in result.second_rates.values()]
        compared = [other["rates"].get(name) for other in (others or {}).values()]
        table.add_row(
            name,
            f"{rate.count}",
            f"{rate.value:.3f}",
            f"{low:.3f} to {high:.3f}",
            *("" if rate is None else f"{rate.value:.3f}" for rate in second),
            *("" if other is None else f"{other['rate']:.3f}" for other in compared),
        )
    return table


def show(
    result: EvaluationResult, console: Console, others: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Print the rates, medians, cost and caveats."""
    print_whole(rates_table(result, others), console)
    medians = [f"{name.replace('_', ' ')} {value:g}" for name, value in result.medians.items() if value]
    console.print(f"medians: {', '.join(medians)}", highlight=False)
    for name, values in result.yields.items():
        each = f"{values['per_relaxation']} a relaxation, " if result.protocol["relax"] else ""
        console.print(f"{name}: {each}{values['per_core_hour']} a core hour", highlight=False)
    cost = ", ".join(f"{stage} {core:.1f}" for stage, (_, core) in result.cost.items())
    console.print(f"core seconds: {cost}", highlight=False)
    for caveat in result.caveats:
        console.print(f"- {caveat}", highlight=False)
    for name, other in (others or {}).items():
        keys = ("potential", "calibration", "hull", "reference", "relax", "fmax", "max_steps")
        if different := [key for key in keys if other["protocol"].get(key) != result.protocol[key]]:
            console.print(f"- {name} was measured with another {', '.join(different)}.", highlight=False)


_PARTS = ("rates", "protocol")  # of an evaluation.json


def read_evaluations(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Read stored evaluations, by the name of their folder or, if the file has another name, of the file.

    Raises:
        InputError: a file that is no ``evaluation.json``.
    """
    found = {}
    for file in files:
        content = read_json(file)
        if not all(isinstance(content, dict) and isinstance(content.get(one), dict) for one in _PARTS):
            raise InputError(f"compare: {quoted(str(file))} is no evaluation; give an evaluation.json.")
        found[file.resolve().parent.name if file.stem == "evaluation" else file.stem] = content
    return found
