"""The result of an evaluation: rates over the crystals sampled, with intervals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from invdesign.analysis.evaluate.record import SampleRecord
from invdesign.core.target import Target
from invdesign.io.atomic import atomic_write
from invdesign.io.provenance import git_revision, package_versions
from invdesign.io.tables import Tabular, write_csv
from invdesign.version import __version__

LIMITS = (0.0, 0.05, 0.1)  # eV/atom above the hull
METASTABLE = 0.1
SUN = f"S.U.N. at {METASTABLE:g} (novel composition)"
HIT = "hit"
BOTH = "both"  # potentials, among the rates of a second opinion


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of the crystals sampled, with its 95 % Wilson interval."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """Return the share."""
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Return Wilson's 95 % interval, which holds also near 0 and 1 and for few samples."""
        from scipy.stats import binomtest

        found = binomtest(self.count, self.of).proportion_ci(0.95, "wilson")
        return float(found.low), float(found.high)

    def as_json(self) -> dict[str, Any]:
        """Return count, denominator, share and interval."""
        low, high = self.interval
        return {
            "count": self.count,
            "of": self.of,
            "rate": round(self.value, 5),
            "interval_95": [round(low, 5), round(high, 5)],
        }


@dataclass(frozen=True)
class EvaluationResult(Tabular):
    """Metrics of a set of crystals.

    Attributes:
        records: one per crystal sampled, in order.
        protocol: potential, hull, calibration, reference and its size, relaxation settings, target, sample
            and seed; ``second_opinion``, where there is one, with its potential and calibration.
        cost: wall and core seconds by stage.
        hardware: the machine.
        target: if one was given.
        rates: by name.
        second_rates: the rates that depend on stability, by the potential of the second opinion and by
            ``both``, where the higher of the two energies above hull counts; empty without a second opinion.
    """

    records: Sequence[SampleRecord]
    protocol: dict[str, Any]
    cost: dict[str, tuple[float, float]]
    hardware: dict[str, Any]
    target: Target | None = None
    rates: dict[str, Rate] = field(init=False)
    second_rates: dict[str, dict[str, Rate]] = field(init=False)

    def __post_init__(self) -> None:
        """Compute the rates."""
        object.__setattr__(self, "rates", self._rates(self.records))
        second = {}
        if opinion := self.protocol.get("second_opinion"):
            energies = {opinion["potential"]: "second_e_above_hull", BOTH: "e_above_hull_both"}
            for name, energy in energies.items():
                placed = [replace(record, e_above_hull=getattr(record, energy)) for record in self.records]
                rates = self._rates(placed)
                second[name] = {rate: rates[rate] for rate in rates if _depends_on_stability(rate)}
        object.__setattr__(self, "second_rates", second)

    def __repr__(self) -> str:
        """Return the main rates."""
        names = ("valid", "unique", f"stable at {METASTABLE:g}", SUN)
        rates = ", ".join(f"{name} {self.rates[name].value:.2f}" for name in names)
        return f"<evaluation of {len(self.records)} crystals: {rates}>"

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per crystal, as in ``structures.csv``."""
        return [_row(record, self.protocol) for record in self.records]

    def _rates(self, records: Sequence[SampleRecord]) -> dict[str, Rate]:
        total = len(records)

        def share(test: Callable[[SampleRecord], bool]) -> Rate:
            return Rate(sum(not r.fault and test(r) for r in records), total)

        def distinct(test: Callable[[SampleRecord], bool]) -> Rate:
            """Crystals, each counted once however often it was sampled."""
            return Rate(len({r.final_group for r in records if not r.fault and test(r)}), total)

        rates = {
            "readable": share(lambda _: True),
            "charge balanced": share(lambda r: r.charge_balanced),
            "plausible geometry": share(lambda r: r.plausible),
            "valid": share(lambda r: r.valid),
            "unique": Rate(len({r.group for r in records if not r.fault}), total),
            "novel composition": share(lambda r: not r.composition_known),
            "novel structure": share(lambda r: not r.structure_known),
            "novel prototype": share(lambda r: not r.prototype_known),
            **({"converged": share(lambda r: r.converged)} if self.protocol["relax"] else {}),
        }
        for limit in LIMITS:
            rates[f"stable at {limit:g}"] = share(partial(_stable, limit=limit))
        for novelty in ("composition", "structure", "prototype"):
            for limit in LIMITS:
                rates[f"S.U.N. at {limit:g} (novel {novelty})"] = distinct(
                    partial(_stable, limit=limit, novelty=novelty)
                )
        rates["metastable S.U.N. and valid"] = distinct(
            lambda r: r.valid and r.stable(METASTABLE) and not r.composition_known
        )
        rates["ordering of a known alloy"] = share(lambda r: bool(r.alloy))
        rates["metastable S.U.N., no such ordering"] = distinct(
            lambda r: r.stable(METASTABLE) and not r.composition_known and not r.alloy
        )
        return rates | self._target_rates(share, distinct)

    def _target_rates(self, share: Callable[..., Rate], distinct: Callable[..., Rate]) -> dict[str, Rate]:
        target = self.target
        if target is None:
            return {}

        def inside(record: SampleRecord, name: str) -> bool:
            value = _value(record, name)
            return value is not None and value in target.windows[name]

        def on_target(record: SampleRecord) -> bool:
            return record.allowed and all(inside(record, name) for name in target.windows)

        rates = {
            f"{name} in {target.windows[name]}": share(lambda r, name=name: inside(r, name))
            for name in target.windows
        }
        rates["as asked (elements, formula, size)"] = share(lambda r: r.allowed)
        rates["on target"] = share(on_target)

        def good(record: SampleRecord) -> bool:
            return on_target(record) and record.valid and record.stable(target.e_above_hull_max)

        rates[f"on target, valid and stable at {target.e_above_hull_max:g}"] = share(good)
        rates[HIT] = distinct(lambda r: good(r) and not r.composition_known)
        return rates

    @property
    def medians(self) -> dict[str, float | None]:
        """Return medians over converged crystals, or over all readable ones without relaxation.

        ``rmsd`` (Å) is over those that are still the crystal sampled.
        """
        relaxed = self.protocol["relax"]
        done = [r for r in self.records if not r.fault and (r.converged or not relaxed)]

        def middle(values: list[Any]) -> float | None:
            return round(median(values), 4) if values else None

        medians = {"e_above_hull": middle([r.e_above_hull for r in done if r.e_above_hull is not None])}
        if self.second_rates:
            second = [r.second_e_above_hull for r in self.records if not r.fault]
            medians["second_e_above_hull"] = middle([energy for energy in second if energy is not None])
        if relaxed:
            medians["rmsd"] = middle([r.rmsd for r in done if r.rmsd is not None])
            medians["steps"] = middle([r.n_steps for r in done])
        return medians | {
            "phases_in_system": middle([r.n_phases for r in done if r.n_phases is not None]),
            "atoms": middle([r.n_atoms for r in self.records if not r.fault]),
        }

    @property
    def yields(self) -> dict[str, dict[str, float | None]]:
        """Return metastable S.U.N. (novel composition) and hits, per relaxation and per core hour."""
        relaxed = sum(not r.fault for r in self.records) if self.protocol["relax"] else 0
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
        """Return what a reader must know to interpret the rates."""
        moved = sum(r.converged and r.rmsd is None for r in self.records)
        caveats = [
            "Universal potentials overcount: CHGNet inflates strict S.U.N. by a factor of 2 to 4.",
            (
                "Novel means: not in the reference named above. Crystals outside it count as novel even if a "
                "generator was trained on them."
            ),
            "Energies above an incomplete hull are lower bounds.",
        ]
        if not self.protocol["relax"]:
            caveats.append("Nothing was relaxed: energies are those of the crystals as given.")
        elif moved:
            caveats.append(f"{moved} of the crystals relaxed into another crystal; the RMSD leaves them out.")
        if self.second_rates:
            first, (second, _) = self.protocol["potential"], self.second_rates
            placed = [r.second_e_above_hull is not None for r in self.records if r.e_above_hull is not None]
            caveats.append(
                f"{second} relaxed on from where {first} ended; novelty and duplicates are those of "
                f"{first}'s crystals."
            )
            if lost := placed.count(False):
                caveats.append(
                    f"{second} could not place {lost} of the {len(placed)} crystals that {first} places; "
                    "second_relaxation in structures.csv has the reasons."
                )
        if self.target is not None and (predictors := self.protocol["predictors"]):
            named = ", ".join(f"{name} by {model}" for name, model in predictors.items())
            from invdesign.predictors.registry import models_of

            caveats.append(f"In-window rates are predictions ({named}).")
            if shared := sorted({*predictors.values()} & {*models_of(predictors).values()}):
                caveats.append(
                    f"design itself ranks with {', '.join(shared)}, so for its own output this is not "
                    "independent; --predictor selects another model."
                )
        return caveats

    def as_json(self) -> dict[str, Any]:
        """Return everything but the single crystals."""
        return {
            "sampled": len(self.records),
            "protocol": self.protocol,
            "rates": _as_json(self.rates),
            **(
                {"second_opinion": {by: _as_json(rates) for by, rates in self.second_rates.items()}}
                if self.second_rates
                else {}
            ),
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
        write_csv(out / "structures.csv", self.rows())


def _as_json(rates: dict[str, Rate]) -> dict[str, Any]:
    return {name: rate.as_json() for name, rate in rates.items()}


def _depends_on_stability(rate: str) -> bool:
    return "stable" in rate or "S.U.N." in rate or rate == HIT


def _stable(record: SampleRecord, *, limit: float, novelty: str | None = None) -> bool:
    """Whether a crystal is stable and, if asked, its composition, structure or prototype is not known."""
    return record.stable(limit) and not (novelty and getattr(record, f"{novelty}_known"))


def _value(record: SampleRecord, name: str) -> float | None:
    """Return the point estimate of a property."""
    if name == "formation_energy_per_atom":
        return record.formation_energy_per_atom
    if name not in record.properties:
        return None
    mean, _, p_zero, _ = record.properties[name]
    return 0.0 if p_zero > 0.5 else mean


def _row(record: SampleRecord, protocol: dict[str, Any]) -> dict[str, Any]:
    skipped = {"properties", "crystal"}
    if "second_opinion" not in protocol:
        skipped |= {name for name in record.__slots__ if name.startswith("second_")}
    row = {name: getattr(record, name) for name in record.__slots__ if name not in skipped}
    row["valid"] = record.valid
    if not protocol["relax"]:
        row |= {"converged": "", "n_steps": "", "rmsd": ""}
    return row | {name: _value(record, name) for name in record.properties}
