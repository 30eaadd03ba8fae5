"""The card of a hull: how its two energy scales met, and how well it judges entries left out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.stability.energy_corrections import fit_scale
from invdesign.training.stability import hull as building

if TYPE_CHECKING:
    from pymatgen.core import Composition

    from invdesign.stability.energy_corrections import EnergyScale
    from invdesign.stability.hull.hull import Hull

SAMPLE = 4000  # entries on which a figure is measured
THRESHOLDS = (0.05, 0.1)
FOLDS = 5


def render(
    hull: Hull,
    *,
    pins: building.Pins,
    used: np.ndarray,
    sources: tuple[building.Pins, building.Pins],
    shift: EnergyScale,
    config: building.HullConfig,
) -> str:
    """Measure and write the card.

    Args:
        hull: the finished hull.
        pins: what it was made of.
        used: which of them compete, (n,) bool.
        sources: pins on the older scale and on MP2020.
        shift: fitted from the older scale to MP2020.
        config: the recipe.
    """
    older, newer = sources
    return f"""{_what(hull, pins)}

## Sources and terms

- {len(older.formulas)} compositions: lowest-energy Materials Project entry of each, with decomposition
  energies, older anion corrections (Bartel et al. 2020, npj Comput. Mater. 6, 97);
- {len(newer.formulas)} compositions with E above hull on the MP2020 scale: MP-20 (Xie et al. 2022) and
  MPTS-52 (Baird, Sparks 2022), without the pure elements. They win where both have a composition.

All from the Materials Project (Jain et al. 2013), CC BY 4.0. Some compositions are deliberately absent.

## LearnedProperty

{_scales(older, newer, shift, config)}

{_merged(hull, pins, used, newer, config)}

**Leave-one-out.** {SAMPLE} random MP-20 and MPTS-52 entries with their DFT energy, the pin of their own
composition left out, against the reported E above hull:

{_leave_one_out(hull, config)}

Only MPTS-52 has entries above 0.08 eV/atom. Entries above the hull compete in part with a polymorph, which
leaving out the composition hides.

## Known weaknesses

- An incomplete hull lies too high: every E above hull is a lower bound. Systems with few phases are the
  worst (ErBr3 stands alone against Er and Br, 2.3 eV/atom "below the hull"): look at `n_phases`.
- Compositions from the older source carry the error of the shift; oxyhalides, oxo-anions of halogens,
  chalcohalides and other mixed anions are its tail.
- 0 K, no entropy, PBE: known compounds lie up to 0.1 eV/atom above this hull and still exist.
- A snapshot of the Materials Project from before 2022 (older source: before 2020); later entries lower it.
"""


def _what(hull: Hull, pins: building.Pins) -> str:
    systems = len({composition.chemical_system for composition in pins.compositions})
    return f"""# mp-hull: the reference hull

The lower convex hull of Materials Project formation energies (PBE/PBE+U, MP2020 corrections):
{len(hull)} compounds in {systems} chemical systems of {len(hull.elements)} elements (at zero by definition).
An entry with formation energy E and height h above the hull pins the hull at E - h at its composition,
also where its competitors are not in the data.

| file | what |
| --- | --- |
| `hull.npz` | formulas (text), atomic numbers, amounts, hull energies (eV/atom), which compete |
| `older-to-mp2020.json` | the map between the sources' energy scales, eV by term (`energy_scale.py`) |
| `recipe.yaml` | `invdesign train` on it rebuilds this folder in two minutes on one core |"""


def _scales(
    older: building.Pins, newer: building.Pins, shift: EnergyScale, config: building.HullConfig
) -> str:
    compositions, before = building.differences(older, newer)
    after = before - [shift.energy(composition) for composition in compositions]
    elements_only = fit_scale(compositions, before, delta=config.delta, extra_terms=False)
    elements_after = before - [elements_only.energy(composition) for composition in compositions]
    crossed = _cross_validated(compositions, before, config)
    return f"""**Scales.** MP2020 minus older hull energy over the {len(before)} shared compositions, eV/atom:

| | mean absolute | median | 99 % |
| --- | --- | --- | --- |
| as they are | {_sizes(before)} |
| after the shift | {_sizes(after)} |
| after it, held out ({FOLDS} folds) | {_sizes(crossed)} |
| after a shift by element alone | {_sizes(elements_after)} |

The shift is a Huber fit of one coefficient per element, one per element as anion and one per +U metal with F
or O."""


def _merged(
    hull: Hull, pins: building.Pins, used: np.ndarray, newer: building.Pins, config: building.HullConfig
) -> str:
    random = np.random.default_rng(config.seed)
    exact = newer.take(random.choice(len(newer.formulas), SAMPLE, replace=False))
    gap = np.abs(building.heights(hull, exact.compositions, exact.hull_energies)) * 1000
    standing_in, stable = int((used & ~pins.stable).sum()), int(pins.stable.sum())
    return f"""**Merged.** {stable} compositions have a compound on the hull. The others are points on tie
lines and facets: {standing_in} of them lie more than {building.REDUNDANT * 1000:.0f} meV/atom below the hull
of the stable compounds; they stand for phases that the data lack, and take part. The rest only
answer "is this composition known": as phases they would be spurious by the error of the shift.
At {SAMPLE} random MP2020 pins the hull differs from the exact energy by {gap.mean():.1f} meV/atom on average,
99 % by less than {np.quantile(gap, 0.99):.0f}."""


def _cross_validated(
    compositions: list[Composition], difference: np.ndarray, config: building.HullConfig
) -> np.ndarray:
    """What is left of each difference after a shift fitted without its fold, eV/atom, (n,)."""
    out = np.zeros(len(difference))
    fold = np.random.default_rng(config.seed).integers(FOLDS, size=len(difference))
    for k in range(FOLDS):
        rest, part = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        shift = fit_scale([compositions[i] for i in rest], difference[rest], delta=config.delta)
        out[part] = difference[part] - [shift.energy(compositions[i]) for i in part]
    return out


def _sizes(difference: np.ndarray) -> str:
    size = np.abs(difference)
    return f"{size.mean():.4f} | {np.median(size):.4f} | {np.quantile(size, 0.99):.3f}"


def _leave_one_out(hull: Hull, config: building.HullConfig) -> str:
    import pandas as pd

    tables = [building.read_set(config.data, name) for name in building.MP2020_SETS]
    entries = pd.concat(tables, ignore_index=True)
    is_compound = np.array([len(c) > 1 for c in building.parse(entries["pretty_formula"].tolist())])
    entries = entries[is_compound].sample(SAMPLE, random_state=config.seed)
    reported = np.array(entries["e_above_hull"], dtype=float)
    energies = np.array(entries["formation_energy_per_atom"], dtype=float)
    compositions = building.parse(entries["pretty_formula"].tolist())
    predicted = np.maximum(building.heights(hull, compositions, energies, known=False), 0.0)
    error = np.abs(predicted - reported)
    above = reported > 0
    lines = [
        f"MAE {error.mean():.4f} eV/atom (the {above.sum()} above the hull: {error[above].mean():.4f}).",
        "",
        "| threshold, eV/atom | precision | recall | F1 | specificity |",
        "| --- | --- | --- | --- | --- |",
    ]
    for threshold in THRESHOLDS:
        figures = building.detection(predicted, reported, threshold).values()
        lines.append(f"| {threshold} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")
    return "\n".join(lines)
