"""Building ``validators/mp-hull``: one hull from two Materials Project tables on different energy scales."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  (pydantic resolves it)
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from invdesign import artifacts
from invdesign.validators.energy_scale import EnergyScale, fit_scale
from invdesign.validators.hull import Hull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from pymatgen.core import Composition

    Progress = Callable[[float, str], None]

MP2020_SETS = ("mp20", "mpts52")
SAMPLE = 4000  # entries on which the leave-one-out figures are measured
ON_HULL = 1e-6  # eV/atom
REDUNDANT = 0.005  # eV/atom; the two energy scales agree to 0.002 (median)
SHIFT = "older-to-mp2020.json"


class HullConfig(BaseModel):
    """Recipe of a hull; kind ``mp-hull``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["mp-hull"]
    data: Path
    out: Path
    seed: int = 0
    delta: float = 0.01  # Huber threshold of the scale fit, eV/atom


@dataclass(frozen=True, slots=True)
class Pins:
    """Points of a hull: one reduced composition each.

    Attributes:
        formulas: n names.
        compositions: reduced.
        hull_energies: the hull's energy there, eV/atom, (n,).
        stable: whether a compound on the hull has the composition, (n,); else the pin is a point of a
            tie line or facet.
    """

    formulas: list[str]
    compositions: list[Composition]
    hull_energies: np.ndarray
    stable: np.ndarray

    def take(self, chosen: np.ndarray) -> Pins:
        """Some of the pins, by index."""
        return Pins(
            [self.formulas[i] for i in chosen],
            [self.compositions[i] for i in chosen],
            self.hull_energies[chosen],
            self.stable[chosen],
        )


@dataclass(frozen=True, slots=True)
class Labels:
    """Energy above ``mp-hull`` of every crystal of the structure sets, all on its scale.

    Attributes:
        formulas: as written in the source.
        sources: ``mp20``, ``mpts52`` or ``wbm``.
        rows: row of the source's CSV, counted from 0.
        e_above_hull: eV/atom, (n,); mp20 and mpts52 as they report it (never negative), wbm computed,
            negative where the crystal lies below the known hull.
    """

    formulas: list[str]
    sources: list[str]
    rows: np.ndarray
    e_above_hull: np.ndarray


def labelled_e_above_hull(data: Path, hull: str | Path = "mp-hull") -> Labels:
    """Energies above hull of mp20, mpts52 (reported) and wbm (computed after the scale fix).

    WBM's formation energies are on the older Materials Project scale: of the compounds it shares with
    ``mp_hull`` the lower quartile of the difference is zero in every anion class, so the hull's own shift
    brings them to MP2020.

    Raises:
        InputError: no such hull, or one without its shift.
    """
    phases, shift = Hull.load(hull), load_shift(hull)
    formulas: list[str] = []
    sources: list[str] = []
    rows: list[int] = []
    values: list[float] = []
    for source in (*MP2020_SETS, "wbm"):
        table = read_set(data, source)
        formulas += table["pretty_formula"].tolist()
        sources += [source] * len(table)
        rows += range(len(table))
        if source != "wbm":
            values += table["e_above_hull"].tolist()
        else:
            values += wbm_e_above_hull(table, phases, shift).tolist()
    return Labels(formulas, sources, np.array(rows), np.array(values))


def wbm_e_above_hull(table: pd.DataFrame, hull: Hull, shift: EnergyScale) -> np.ndarray:
    """Heights above ``hull`` of rows with ``pretty_formula`` and older-scale ``formation_energy_per_atom``."""
    compositions = parse(table["pretty_formula"])
    energies = on_mp2020(compositions, table["formation_energy_per_atom"].to_numpy(), shift)
    return heights(hull, compositions, energies)


def on_mp2020(compositions: Sequence[Composition], energies: np.ndarray, shift: EnergyScale) -> np.ndarray:
    """Formation energies of the older scale on the MP2020 scale, eV/atom, (n,)."""
    return energies + np.array([shift.energy(composition) for composition in compositions])


def heights(
    hull: Hull, compositions: Sequence[Composition], energies: np.ndarray, *, known: bool = True
) -> np.ndarray:
    """E above hull of many compositions and formation energies, eV/atom, (n,)."""
    pairs = zip(compositions, energies, strict=True)
    return np.array([hull.e_above_hull(c, float(e), known=known).e_above_hull for c, e in pairs])


def load_shift(hull: str | Path = "mp-hull") -> EnergyScale:
    """The map from the older Materials Project scale to MP2020 which the hull was merged with."""
    folder = artifacts.find("validators", hull, needs=(SHIFT,))
    return EnergyScale(json.loads((folder / SHIFT).read_text()))


def read_set(data: Path, name: str) -> pd.DataFrame:
    """A structure set without its crystals: formulas and energies."""
    import pandas as pd

    path = data / "structures" / f"{name}.csv.gz"
    return pd.read_csv(path, keep_default_na=False, usecols=lambda column: column != "cif")


def parse(formulas: Sequence[str]) -> list[Composition]:
    """Compositions of formulas."""
    from pymatgen.core import Composition

    return [Composition(formula) for formula in formulas]


def read_pins(data: Path) -> tuple[Pins, Pins]:
    """Hull points on the older scale (``mp_hull``) and on MP2020 (``mp20`` and ``mpts52``).

    An entry with formation energy E and height h pins its hull at E - h, even when its competitors are
    missing. In ``mp_hull`` the height is the positive part of the decomposition energy.
    """
    import pandas as pd

    older = pd.read_csv(data / "compositions" / "mp_hull.csv.gz", keep_default_na=False)
    above = older["decomposition_energy_per_atom"].clip(lower=0.0)
    newer = pd.concat([read_set(data, name) for name in MP2020_SETS], ignore_index=True)
    return (
        _pins(older["formula"], older["formation_energy_per_atom"], above),
        _pins(newer["pretty_formula"], newer["formation_energy_per_atom"], newer["e_above_hull"]),
    )


def _pins(formulas: Sequence[str], energies: Sequence[float], heights: Sequence[float]) -> Pins:
    """One pin per reduced composition, the lowest; elements are not pins, they define zero."""
    lowest: dict[str, tuple[float, float, Composition]] = {}
    for composition, energy, height in zip(parse(formulas), energies, heights, strict=True):
        key = composition.reduced_formula
        pin = (float(energy - height), float(height), composition.reduced_composition)
        if len(composition) > 1 and (key not in lowest or pin[:2] < lowest[key][:2]):
            lowest[key] = pin
    keys = sorted(lowest)
    hull_energies, least, compositions = zip(*(lowest[key] for key in keys), strict=True)
    return Pins(keys, list(compositions), np.array(hull_energies), np.array(least) < ON_HULL)


def fit_shift(older: Pins, newer: Pins, delta: float) -> tuple[EnergyScale, np.ndarray, np.ndarray]:
    """Fit MP2020 - older hull energy over the shared compositions.

    Returns:
        The shift, and the differences (n,) before and after it.
    """
    position = {formula: i for i, formula in enumerate(older.formulas)}
    shared = [(position[formula], j) for j, formula in enumerate(newer.formulas) if formula in position]
    left, right = (np.array(side) for side in zip(*shared, strict=True))
    difference = newer.hull_energies[right] - older.hull_energies[left]
    compositions = [older.compositions[i] for i in left]
    shift = fit_scale(compositions, difference, delta=delta)
    return shift, difference, difference - np.array([shift.energy(c) for c in compositions])


def merge(older: Pins, newer: Pins, shift: EnergyScale) -> Pins:
    """All pins on MP2020; where both have a composition the MP2020 one wins."""
    have = set(newer.formulas)
    rest = older.take(np.array([i for i, formula in enumerate(older.formulas) if formula not in have]))
    shifts = np.array([shift.energy(composition) for composition in rest.compositions])
    return Pins(
        newer.formulas + rest.formulas,
        newer.compositions + rest.compositions,
        np.concatenate([newer.hull_energies, rest.hull_energies + shifts]),
        np.concatenate([newer.stable, rest.stable]),
    )


def competing(pins: Pins) -> np.ndarray:
    """Which pins the hull is made of, (n,) bool: stable compounds, and points that stand for missing ones.

    A compound above the hull pins it at a point of a facet. Where the phases of the facet are in the data
    the point says nothing, and the error of its energy scale would make it a spurious phase; where they
    are missing it is all there is: those which the stable compounds miss by more than ``REDUNDANT``.
    """
    stable = pins.take(np.flatnonzero(pins.stable))
    hull = to_hull(stable, np.ones(len(stable.formulas), dtype=bool))
    used = pins.stable.copy()
    for i in np.flatnonzero(~pins.stable):
        composition = pins.compositions[i]
        covered = {element.Z for element in composition} <= hull.atomic_numbers
        gap = hull.e_above_hull(composition, pins.hull_energies[i]).e_above_hull if covered else -np.inf
        used[i] = gap < -REDUNDANT
    return used


def to_hull(pins: Pins, used: np.ndarray) -> Hull:
    """A hull of these pins."""
    return Hull(pins.formulas, *_arrays(pins), pins.hull_energies, used)


def _arrays(pins: Pins) -> tuple[np.ndarray, np.ndarray]:
    width = max(len(composition) for composition in pins.compositions)
    numbers = np.zeros((len(pins.formulas), width), dtype=np.uint8)
    amounts = np.zeros((len(pins.formulas), width), dtype=np.uint16)
    for i, composition in enumerate(pins.compositions):
        for j, (element, amount) in enumerate(composition.items()):
            numbers[i, j], amounts[i, j] = element.Z, round(amount)
    return numbers, amounts


def save(pins: Pins, used: np.ndarray, shift: EnergyScale, folder: Path) -> None:
    """Write ``hull.npz`` (energies to single precision, 2e-7 eV/atom) and the shift."""
    numbers, amounts = _arrays(pins)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "hull.npz",
        formulas=np.frombuffer("\n".join(pins.formulas).encode(), dtype=np.uint8),
        numbers=numbers,
        amounts=amounts,
        energies=pins.hull_energies.astype(np.float32),
        competing=used,
    )
    (folder / SHIFT).write_text(json.dumps(shift.coefficients, indent=1) + "\n")


def build(config: HullConfig, *, progress: Progress) -> Path:
    """Build the hull, measure it, write data, card and recipe to ``config.out``."""
    import yaml

    progress(0.0, "reading pins")
    older, newer = read_pins(config.data)
    progress(0.3, "fitting the energy scales")
    shift, before, after = fit_shift(older, newer, config.delta)
    pins = merge(older, newer, shift)
    progress(0.5, "finding the pins that the hull is made of")
    used = competing(pins)
    save(pins, used, shift, config.out)
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    progress(0.8, "measuring")
    figures = {
        "older": len(older.formulas),
        "newer": len(newer.formulas),
        "systems": len({composition.chemical_system for composition in pins.compositions}),
        **{f"before_{name}": value for name, value in _sizes(before).items()},
        **{f"after_{name}": value for name, value in _sizes(after).items()},
        "shared": len(before),
        "stable": int(pins.stable.sum()),
        "standing_in": int((used & ~pins.stable).sum()),
        **_measure(Hull.load(config.out), newer, config),
    }
    (config.out / "README.md").write_text(_card(figures))
    progress(1.0, f"{figures['phases']} phases in {config.out}")
    return config.out


def _sizes(difference: np.ndarray) -> dict[str, float]:
    size = np.abs(difference)
    return {"mean": size.mean(), "median": np.median(size), "p99": np.quantile(size, 0.99)}


def _measure(hull: Hull, newer: Pins, config: HullConfig) -> dict[str, float]:
    """Figures of a finished hull: consistency with its exact pins, leave-one-out error."""
    import pandas as pd

    random = np.random.default_rng(config.seed)

    exact = random.choice(len(newer.formulas), SAMPLE, replace=False)
    undercut = heights(hull, [newer.compositions[i] for i in exact], newer.hull_energies[exact], known=True)
    entries = pd.concat([read_set(config.data, name) for name in MP2020_SETS], ignore_index=True)
    entries = entries[[len(c) > 1 for c in parse(entries["pretty_formula"])]]
    entries = entries.sample(SAMPLE, random_state=config.seed)
    reported = entries["e_above_hull"].to_numpy()
    energies = entries["formation_energy_per_atom"].to_numpy()
    left_out = heights(hull, parse(entries["pretty_formula"]), energies, known=False)
    out = {
        "phases": len(hull),
        "elements": len(hull.elements),
        "undercut_mean": float(np.abs(undercut).mean()),
        "undercut_p99": float(np.quantile(np.abs(undercut), 0.99)),
        "loo_mae": float(np.abs(np.maximum(left_out, 0.0) - reported).mean()),
        "loo_mae_unstable": float(np.abs(np.maximum(left_out, 0.0) - reported)[reported > 0].mean()),
    }
    for threshold in (0.05, 0.1):
        for name, value in detection(left_out, reported, threshold).items():
            out[f"loo_{name}_{threshold}"] = value
    return out


def detection(predicted: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    """How well ``predicted <= threshold`` tells ``truth <= threshold``: precision, recall, F1, specificity."""
    said, true = predicted <= threshold, truth <= threshold
    hits = float((said & true).sum())
    return {
        "precision": hits / said.sum(),
        "recall": hits / true.sum(),
        "f1": 2 * hits / (said.sum() + true.sum()),
        "specificity": float((~said & ~true).sum()) / (~true).sum(),
    }


def _card(f: dict[str, float]) -> str:
    return f"""# mp-hull: the reference hull

The lower convex hull of Materials Project formation energies (PBE/PBE+U, MP2020 corrections):
{f["phases"]} compounds in {f["systems"]} chemical systems of {f["elements"]} elements (at zero by definition).
An entry with formation energy E and height h above the hull pins the hull at E - h at its composition,
also where its competitors are not in the data.

| file | what |
| --- | --- |
| `hull.npz` | formulas (text, one a line), atomic numbers, amounts, hull energies (eV/atom, single precision) |
| `older-to-mp2020.json` | the map between the two energy scales of the sources, eV by term |
| `recipe.yaml` | `invdesign train` on it rebuilds this folder in two minutes on one core |

## Sources and terms

- {f["older"]} compositions: lowest-energy Materials Project entry of each, with decomposition energies, older
  anion corrections (Bartel et al. 2020, npj Comput. Mater. 6, 97);
- {f["newer"]} compositions with E above hull on the MP2020 scale: MP-20 (Xie et al. 2022) and MPTS-52 (Baird,
  Sparks 2022), without the pure elements. They win where both have a composition.

All from the Materials Project (Jain et al. 2013), CC BY 4.0. Some compositions are deliberately absent.

## Measured

Scales. MP2020 minus older hull energy over the {f["shared"]} shared compositions, eV/atom: mean absolute
{f["before_mean"]:.4f}, median {f["before_median"]:.4f}, 99 % {f["before_p99"]:.3f} before; mean {f["after_mean"]:.4f}, median
{f["after_median"]:.4f}, 99 % {f["after_p99"]:.3f} after a Huber fit of one coefficient per element, one per anion and
one per +U metal with O or F. (Elements alone leave mean 0.0125, median 0.0034.)

Merged. {f["stable"]} compositions have a compound on the hull. The rest are points on tie lines and facets:
{f["standing_in"]} lie more than {REDUNDANT * 1000:.0f} meV/atom below the hull of the stable compounds, so they stand for phases
that the data lack, and take part; the others only answer "is this composition known" (as phases they
would be spurious by the error of the scale fit). At {SAMPLE} random MP2020 pins the hull differs from the
exact energy by {f["undercut_mean"] * 1000:.1f} meV/atom on average, 99 % by less than {f["undercut_p99"] * 1000:.0f}.

Leave-one-out. {SAMPLE} random MP-20 and MPTS-52 entries, the pin of their own composition left out, their DFT
energy, against the reported E above hull: MAE {f["loo_mae"]:.4f} eV/atom (entries above the hull:
{f["loo_mae_unstable"]:.4f}; many of these compete with a polymorph, which leaving out the composition hides).

| threshold, eV/atom | precision | recall | F1 | specificity |
| --- | --- | --- | --- | --- |
| 0.05 | {f["loo_precision_0.05"]:.3f} | {f["loo_recall_0.05"]:.3f} | {f["loo_f1_0.05"]:.3f} | {f["loo_specificity_0.05"]:.3f} |
| 0.1 | {f["loo_precision_0.1"]:.3f} | {f["loo_recall_0.1"]:.3f} | {f["loo_f1_0.1"]:.3f} | {f["loo_specificity_0.1"]:.3f} |

## Known weaknesses

- An incomplete hull lies too high: every E above hull is a lower bound. Systems with few phases are the
  worst (ErBr3 stands alone against Er and Br, 2.3 eV/atom "below the hull"): look at `n_phases`.
- Compositions from the older source carry the error of the scale fit ("after" above); oxyhalides,
  chalcohalides and other mixed anions are its tail.
- 0 K, no entropy, PBE: known compounds lie up to 0.1 eV/atom above this hull and still exist.
- A snapshot of the Materials Project from before 2022 (older source: before 2020); later entries lower it.
"""
