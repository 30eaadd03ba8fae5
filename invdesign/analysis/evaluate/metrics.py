"""The result of ``invdesign evaluate``: counts over the structures sampled, with intervals."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from functools import partial
from math import sqrt
from statistics import median
from typing import TYPE_CHECKING, Any

from invdesign.errors import InputError
from invdesign.io.atomic import atomic_write
from invdesign.io.console import print_whole
from invdesign.io.provenance import git_revision, package_versions
from invdesign.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from invdesign.analysis.evaluate.samples import Outcome
    from invdesign.core.target import Target

LIMITS = (0.0, 0.05, 0.1)  # eV/atom above the hull
METASTABLE = 0.1
SUN = f"S.U.N. at {METASTABLE:g} (novel composition)"
HIT = "hit"
Z95 = 1.959964
FIGURE = len("0.123")  # width of a rate


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of the structures sampled, with its 95 % Wilson interval."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share."""
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval: right also near 0 and 1, and for few samples."""
        n, p = self.of, self.value
        centre = p + Z95**2 / (2 * n)
        half = Z95 * sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
        scale = 1 + Z95**2 / n
        return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)

    def as_json(self) -> dict[str, Any]:
        """Count, denominator, share and interval."""
        low, high = self.interval
        return {
            "count": self.count,
            "of": self.of,
            "rate": round(self.value, 5),
            "interval_95": [round(low, 5), round(high, 5)],
        }


@dataclass(frozen=True)
class Evaluation:
    """Figures of a set of structures.

    Attributes:
        outcomes: one per structure sampled, in order.
        protocol: what was measured with what: potential, hull, calibration, reference and its size,
            relaxation settings, target, sample and seed.
        cost: wall and core seconds by stage.
        hardware: machine that it ran on.
        target: if one was given.
    """

    outcomes: Sequence[Outcome]
    protocol: dict[str, Any]
    cost: dict[str, tuple[float, float]]
    hardware: dict[str, Any]
    target: Target | None = None
    rates: dict[str, Rate] = field(init=False)

    def __post_init__(self) -> None:
        """Count."""
        object.__setattr__(self, "rates", self._rates())

    def _rates(self) -> dict[str, Rate]:
        total = len(self.outcomes)

        def share(test: Callable[[Outcome], bool]) -> Rate:
            return Rate(sum(not o.fault and test(o) for o in self.outcomes), total)

        def distinct(test: Callable[[Outcome], bool]) -> Rate:
            """Crystals, each counted once however often it was sampled."""
            return Rate(len({o.final_group for o in self.outcomes if not o.fault and test(o)}), total)

        rates = {
            "readable": share(lambda _: True),
            "charge balanced": share(lambda o: o.charge_balanced),
            "plausible geometry": share(lambda o: o.plausible),
            "valid": share(lambda o: o.valid),
            "unique": Rate(len({o.group for o in self.outcomes if not o.fault}), total),
            "novel composition": share(lambda o: not o.composition_known),
            "novel gene": share(lambda o: not o.gene_known),
            "novel prototype": share(lambda o: not o.prototype_known),
            **({"converged": share(lambda o: o.converged)} if self.protocol["relax"] else {}),
        }
        for limit in LIMITS:
            rates[f"stable at {limit:g}"] = share(partial(_stable, limit=limit))
        for novelty in ("composition", "gene", "prototype"):
            for limit in LIMITS:
                rates[f"S.U.N. at {limit:g} (novel {novelty})"] = distinct(
                    partial(_stable, limit=limit, novelty=novelty)
                )
        rates["metastable S.U.N. and valid"] = distinct(
            lambda o: o.valid and o.stable(METASTABLE) and not o.composition_known
        )
        rates["ordering of a known alloy"] = share(lambda o: bool(o.alloy))
        rates["metastable S.U.N., no such ordering"] = distinct(
            lambda o: o.stable(METASTABLE) and not o.composition_known and not o.alloy
        )
        return rates | self._target_rates(share, distinct)

    def _target_rates(self, share: Callable[..., Rate], distinct: Callable[..., Rate]) -> dict[str, Rate]:
        target = self.target
        if target is None:
            return {}

        def inside(outcome: Outcome, name: str) -> bool:
            value = _value(outcome, name)
            return value is not None and value in target.windows[name]

        def on_target(outcome: Outcome) -> bool:
            return outcome.allowed and all(inside(outcome, name) for name in target.windows)

        rates = {
            f"{name} in {target.windows[name]}": share(lambda o, name=name: inside(o, name))
            for name in target.windows
        }
        rates["as asked (elements, formula, size)"] = share(lambda o: o.allowed)
        rates["on target"] = share(on_target)

        def good(outcome: Outcome) -> bool:
            return on_target(outcome) and outcome.valid and outcome.stable(target.e_above_hull_max)

        rates[f"on target, valid and stable at {target.e_above_hull_max:g}"] = share(good)
        rates[HIT] = distinct(lambda o: good(o) and not o.composition_known)
        return rates

    @property
    def medians(self) -> dict[str, float | None]:
        """Medians over converged structures, all that are readable where none was relaxed.

        ``rmsd`` is over those that are still the crystal sampled; it and ``steps`` go with relaxation.
        """
        relaxed = self.protocol["relax"]
        done = [o for o in self.outcomes if not o.fault and (o.converged or not relaxed)]

        def middle(values: list[Any]) -> float | None:
            return round(median(values), 4) if values else None

        heights = {"e_above_hull": middle([o.e_above_hull for o in done if o.e_above_hull is not None])}
        if relaxed:
            heights["rmsd"] = middle([o.rmsd for o in done if o.rmsd is not None])
            heights["steps"] = middle([o.n_steps for o in done])
        return heights | {
            "phases_in_system": middle([o.n_phases for o in done if o.n_phases is not None]),
            "atoms": middle([o.n_atoms for o in self.outcomes if not o.fault]),
        }

    @property
    def yields(self) -> dict[str, dict[str, float | None]]:
        """Metastable S.U.N. (novel composition) and hits, per relaxation and per core hour of evaluation."""
        relaxed = sum(not o.fault for o in self.outcomes) if self.protocol["relax"] else 0
        hours = sum(core for _, core in self.cost.values()) / 3600
        counted = {"metastable S.U.N.": SUN, HIT: HIT} if self.target else {"metastable S.U.N.": SUN}
        counts = {name: self.rates[rate].count for name, rate in counted.items()}
        return {
            name: {
                "per_relaxation": round(count / relaxed, 4) if relaxed else None,
                "per_core_hour": round(count / hours, 2) if hours else None,
            }
            for name, count in counts.items()
        }

    @property
    def caveats(self) -> list[str]:
        """What a reader must know beside the rates."""
        moved = sum(o.converged and o.rmsd is None for o in self.outcomes)
        told = [
            "Universal potentials overcount: CHGNet inflates strict S.U.N. 2 to 4 times over DFT.",
            (
                "Novel means: not in the reference named above; a generator trained on crystals outside it "
                "has those counted as novel."
            ),
            "Energies above an incomplete hull are lower bounds.",
        ]
        if not self.protocol["relax"]:
            told.append("Nothing was relaxed: energies are those of the structures as given.")
        elif moved:
            told.append(f"{moved} of the structures relaxed into another crystal; the RMSD leaves them out.")
        if self.target is not None and (predictors := self.protocol["predictors"]):
            named = ", ".join(f"{name} by {model}" for name, model in predictors.items())
            from invdesign.predictors.registry import models_of

            told.append(f"In-window rates are predictions ({named}).")
            if own := sorted(set(predictors.values()) & set(models_of(predictors).values())):
                told.append(
                    f"design ranks with {', '.join(own)}: of its own output that is no independent judge; "
                    "--predictor names another model."
                )
        return told

    def as_json(self) -> dict[str, Any]:
        """Everything but the single structures."""
        return {
            "sampled": len(self.outcomes),
            "protocol": self.protocol,
            "rates": {name: rate.as_json() for name, rate in self.rates.items()},
            "medians": self.medians,
            "yield": self.yields,
            "cost_s": {
                stage: {"wall": round(wall, 2), "core": round(core, 2)}
                for stage, (wall, core) in self.cost.items()
            },
            "hardware": self.hardware,
            "versions": {
                "invdesign": __version__,
                "git_revision": git_revision(),
                **package_versions(),
            },
            "caveats": self.caveats,
        }

    def write(self, out: Path) -> None:
        """Write ``evaluation.json`` and ``structures.csv`` into a folder."""
        with atomic_write(out / "evaluation.json") as path:
            path.write_text(json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        with (
            atomic_write(out / "structures.csv") as path,
            path.open("w", newline="", encoding="utf-8") as file,
        ):
            rows = [_row(outcome, relaxed=self.protocol["relax"]) for outcome in self.outcomes]
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), restval="")
            writer.writeheader()
            writer.writerows(rows)

    def table(self, beside: Mapping[str, Mapping[str, Any]] | None = None) -> Table:
        """The rates as a rich table.

        Args:
            beside: what :meth:`as_json` gave for other sets, by name: one more column each.
        """
        from rich.table import Table

        shown = self.protocol
        title = (
            f"{len(self.outcomes)} structures sampled{'' if shown['relax'] else ', not relaxed'}; "
            f"{shown['potential']} on {shown['hull']}, "
            f"novel against {shown['reference']} ({shown['reference_compositions']:,} compositions, "
            f"{shown['reference_crystals']:,} crystals)"
        )
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        table.add_column("share of the structures sampled", style="cyan", overflow="fold")
        for name in ("count", "rate", "95 % interval"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in beside or {}:
            table.add_column(name, justify="right", overflow="fold", min_width=FIGURE)
        for name, rate in self.rates.items():
            low, high = rate.interval
            others = [other["rates"].get(name) for other in (beside or {}).values()]
            table.add_row(
                name,
                f"{rate.count}",
                f"{rate.value:.3f}",
                f"{low:.3f} to {high:.3f}",
                *("" if other is None else f"{other['rate']:.3f}" for other in others),
            )
        return table

    def show(self, console: Console, beside: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Print the table, what it cost, and what must be known beside it."""
        print_whole(self.table(beside), console)
        told = [f"{name.replace('_', ' ')} {value:g}" for name, value in self.medians.items() if value]
        console.print(f"medians: {', '.join(told)}", highlight=False)
        for name, figures in self.yields.items():
            each = f"{figures['per_relaxation']} a relaxation, " if self.protocol["relax"] else ""
            console.print(f"{name}: {each}{figures['per_core_hour']} a core hour", highlight=False)
        cost = ", ".join(f"{stage} {core:.1f}" for stage, (_, core) in self.cost.items())
        console.print(f"core seconds: {cost}", highlight=False)
        for caveat in self.caveats:
            console.print(f"- {caveat}", highlight=False)
        for name, other in (beside or {}).items():
            keys = ("potential", "calibration", "hull", "reference", "relax", "fmax", "max_steps")
            if strange := [key for key in keys if other["protocol"].get(key) != self.protocol[key]]:
                console.print(f"- {name} was measured with another {', '.join(strange)}.", highlight=False)


def _stable(outcome: Outcome, *, limit: float, novelty: str | None = None) -> bool:
    """Whether a structure is stable and, if asked, its composition, gene or prototype is not known."""
    return outcome.stable(limit) and not (novelty and getattr(outcome, f"{novelty}_known"))


def _value(outcome: Outcome, name: str) -> float | None:
    """A property's best figure."""
    if name == "formation_energy_per_atom":
        return outcome.formation_energy_per_atom
    if name not in outcome.properties:
        return None
    mean, _, p_zero, _ = outcome.properties[name]
    return 0.0 if p_zero > 0.5 else mean


def _row(outcome: Outcome, *, relaxed: bool) -> dict[str, Any]:
    skipped = {"properties", "crystal"}
    row = {name: getattr(outcome, name) for name in outcome.__slots__ if name not in skipped}
    row["valid"] = outcome.valid
    if not relaxed:
        row |= {"converged": "", "n_steps": "", "rmsd": ""}
    return row | {name: _value(outcome, name) for name in outcome.properties}


def read_evaluations(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Stored evaluations by the name of their folder or, if called otherwise, of the file.

    Raises:
        InputError: a file that is no ``evaluation.json``.
    """
    found = {}
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            content["rates"], content["protocol"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"beside: {str(file)!r} is no evaluation ({error}); give the evaluation.json of another."
            ) from error
        found[file.resolve().parent.name if file.stem == "evaluation" else file.stem] = content
    return found
