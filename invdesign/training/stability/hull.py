"""Build ``validators/mp-hull``: one hull from two Materials Project tables on different energy scales."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from invdesign.io import artifacts
from invdesign.io.progress import Progress
from invdesign.stability.energy_corrections import EnergyScale, fit_scale
from invdesign.stability.hull.hull import Hull
from invdesign.training.cards.render import write_card
from invdesign.training.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Composition

MP2020_SETS = ("mp20", "mpts52")
ON_HULL = 1e-6  # eV/atom
REDUNDANT = 0.005  # eV/atom; the two energy scales agree to 0.002 (median)
SAMPLE = 4000  # entries on which a metric is measured
THRESHOLDS = (0.05, 0.1)  # eV/atom
FOLDS = 5
SHIFT = "older-to-mp2020.json"


class HullConfig(Recipe):
    """Recipe of a hull; kind ``mp-hull``."""

    kind: Literal["mp-hull"]
    data: Path
    seed: int = 0
    delta: float = 0.01  # Huber threshold of the scale fit, eV/atom


@dataclass(frozen=True, slots=True)
class HullEntries:
    """Points of a hull: one reduced composition each.

    Attributes:
        formulas: n names.
        compositions: reduced.
        hull_energies: the hull's energy there, eV/atom, (n,).
        stable: whether a compound on the hull has the composition, (n,); else the entry is a point of a
            tie line or facet.
    """

    formulas: list[str]
    compositions: list[Composition]
    hull_energies: np.ndarray
    stable: np.ndarray

    def take(self, chosen: np.ndarray) -> HullEntries:
        """Take some of the entries, by index."""
        return HullEntries(
            [self.formulas[i] for i in chosen],
            [self.compositions[i] for i in chosen],
            self.hull_energies[chosen],
            self.stable[chosen],
        )


def labelled_e_above_hull(data: Path, hull: str | Path = "mp-hull") -> dict[str, np.ndarray]:
    """Energies above ``mp-hull``, eV/atom, by data set, (n,) each in the order of its rows.

    Those of mp20 and mpts52 are as reported (never negative); those of wbm are computed, negative where the
    crystal lies below the known hull. WBM's formation energies are on the older Materials Project scale: of
    the compounds it shares with ``mp_hull`` the lower quartile of the difference is zero in every anion
    class, so the hull's shift brings them to MP2020.

    Raises:
        InputError: no such hull, or one without its shift.
    """
    labels = {name: read_set(data, name)["e_above_hull"].to_numpy(float) for name in MP2020_SETS}
    wbm = read_set(data, "wbm")
    compositions = parse(wbm["pretty_formula"].tolist())
    energies = on_mp2020(compositions, wbm["formation_energy_per_atom"].to_numpy(float), load_shift(hull))
    return labels | {"wbm": energies_above_hull(Hull.load(hull).as_published(), compositions, energies)}


def on_mp2020(compositions: Sequence[Composition], energies: np.ndarray, shift: EnergyScale) -> np.ndarray:
    """Return formation energies of the older scale on the MP2020 scale, eV/atom, (n,)."""
    shifts = np.array([shift.energy(composition) for composition in compositions])
    return np.asarray(energies + shifts)


def energies_above_hull(
    hull: Hull, compositions: Sequence[Composition], energies: np.ndarray, *, known: bool = True
) -> np.ndarray:
    """Return E above hull of many compositions and formation energies, eV/atom, (n,)."""
    pairs = zip(compositions, energies, strict=True)
    return np.array([hull.e_above_hull(c, float(e), known=known).e_above_hull for c, e in pairs])


def load_shift(hull: str | Path = "mp-hull") -> EnergyScale:
    """Load the map from the older Materials Project scale to MP2020 which the hull was merged with."""
    folder = artifacts.find("validators", hull, needs=(SHIFT,))
    return EnergyScale(json.loads((folder / SHIFT).read_text()))


def read_set(data: Path, name: str) -> pd.DataFrame:
    """Read a structure set without its crystals: formulas and energies."""
    import pandas as pd

    path = data / "structures" / f"{name}.csv.gz"
    return pd.read_csv(path, keep_default_na=False, usecols=lambda column: column != "cif")


def parse(formulas: Sequence[str]) -> list[Composition]:
    """Compositions of formulas."""
    from pymatgen.core import Composition

    return [Composition(formula) for formula in formulas]


def read_entries(data: Path) -> tuple[HullEntries, HullEntries]:
    """Hull points on the older scale (``mp_hull``) and on MP2020 (``mp20`` and ``mpts52``).

    An entry with formation energy E, at h above the hull, gives the hull energy E - h, even when its
    competitors are missing. In ``mp_hull`` h is the positive part of the decomposition energy.
    """
    import pandas as pd

    older = pd.read_csv(data / "compositions" / "mp_hull.csv.gz", keep_default_na=False)
    older["e_above_hull"] = older["decomposition_energy_per_atom"].clip(lower=0.0)
    newer = pd.concat([read_set(data, name) for name in MP2020_SETS], ignore_index=True)
    return _lowest_entries(older.rename(columns={"formula": "pretty_formula"})), _lowest_entries(newer)


def _lowest_entries(entries: pd.DataFrame) -> HullEntries:
    """One entry per reduced composition, the lowest; elements are not entries, they define zero."""
    lowest: dict[str, tuple[float, float, Composition]] = {}
    energies = entries["formation_energy_per_atom"].tolist()
    above_hull = entries["e_above_hull"].tolist()
    compositions = parse(entries["pretty_formula"].tolist())
    for composition, energy, above in zip(compositions, energies, above_hull, strict=True):
        key = composition.reduced_formula
        entry = (energy - above, above, composition.reduced_composition)
        if len(composition) > 1 and (key not in lowest or entry[:2] < lowest[key][:2]):
            lowest[key] = entry
    keys = sorted(lowest)
    hull_energies, least, reduced = zip(*(lowest[key] for key in keys), strict=True)
    return HullEntries(keys, list(reduced), np.array(hull_energies), np.array(least) < ON_HULL)


def differences(older: HullEntries, newer: HullEntries) -> tuple[list[Composition], np.ndarray]:
    """Return the shared compositions and their MP2020 - older hull energy, eV/atom, (n,)."""
    position = {formula: i for i, formula in enumerate(older.formulas)}
    shared = [(position[formula], j) for j, formula in enumerate(newer.formulas) if formula in position]
    left, right = (np.array(side) for side in zip(*shared, strict=True))
    return [older.compositions[i] for i in left], newer.hull_energies[right] - older.hull_energies[left]


def merge(older: HullEntries, newer: HullEntries, shift: EnergyScale) -> HullEntries:
    """All entries on MP2020; where both have a composition the MP2020 one wins."""
    have = set(newer.formulas)
    rest = older.take(np.array([i for i, formula in enumerate(older.formulas) if formula not in have]))
    return HullEntries(
        newer.formulas + rest.formulas,
        newer.compositions + rest.compositions,
        np.concatenate([newer.hull_energies, on_mp2020(rest.compositions, rest.hull_energies, shift)]),
        np.concatenate([newer.stable, rest.stable]),
    )


def competing(entries: HullEntries) -> np.ndarray:
    """Find the entries that the hull is made of, (n,) bool: stable compounds and stand-ins for missing ones.

    An unstable compound gives the hull energy at a point of a facet. Where the phases of the facet are in the
    data the point carries no information, and the error of its energy scale would make it a spurious phase.
    Where they are missing it stands for them: points more than ``REDUNDANT`` below the stable hull.
    """
    stable = entries.take(np.flatnonzero(entries.stable))
    hull = to_hull(stable, np.ones(len(stable.formulas), dtype=bool))
    used = entries.stable.copy()
    for i in np.flatnonzero(~entries.stable):
        composition = entries.compositions[i]
        covered = {element.Z for element in composition} <= hull.atomic_numbers
        gap = hull.e_above_hull(composition, entries.hull_energies[i]).e_above_hull if covered else -np.inf
        used[i] = gap < -REDUNDANT
    return used


def to_hull(entries: HullEntries, used: np.ndarray) -> Hull:
    """Return a hull of these entries."""
    return Hull(entries.formulas, *_arrays(entries), entries.hull_energies, used).as_published()


def _arrays(entries: HullEntries) -> tuple[np.ndarray, np.ndarray]:
    width = max(len(composition) for composition in entries.compositions)
    numbers = np.zeros((len(entries.formulas), width), dtype=np.uint8)
    amounts = np.zeros((len(entries.formulas), width), dtype=np.uint16)
    for i, composition in enumerate(entries.compositions):
        for j, (element, amount) in enumerate(composition.items()):
            numbers[i, j], amounts[i, j] = element.Z, round(amount)
    return numbers, amounts


def save(entries: HullEntries, used: np.ndarray, shift: EnergyScale, folder: Path) -> None:
    """Write ``hull.npz`` (energies to single precision, 2e-7 eV/atom) and the shift."""
    numbers, amounts = _arrays(entries)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "hull.npz",
        formulas=np.frombuffer("\n".join(entries.formulas).encode(), dtype=np.uint8),
        numbers=numbers,
        amounts=amounts,
        energies=entries.hull_energies.astype(np.float32),
        competing=used,
    )
    (folder / SHIFT).write_text(json.dumps(shift.coefficients, indent=1) + "\n")


def build(config: HullConfig, *, progress: Progress) -> Path:
    """Build the hull, measure it, write data, card and recipe to ``config.out``."""
    progress(0.0, "reading entries")
    older, newer = read_entries(config.data)
    progress(0.3, "fitting the energy scales")
    shift = fit_scale(*differences(older, newer), delta=config.delta)
    entries = merge(older, newer, shift)
    progress(0.5, "finding the entries that the hull is made of")
    used = competing(entries)
    save(entries, used, shift, config.out)
    progress(0.8, "measuring")
    metrics = measure_hull(entries, used, older=older, newer=newer, shift=shift, config=config)
    write_card(config, "hull", metrics)
    progress(1.0, f"{len(used)} compositions in {config.out}")
    return config.out


def measure_hull(
    entries: HullEntries,
    used: np.ndarray,
    *,
    older: HullEntries,
    newer: HullEntries,
    shift: EnergyScale,
    config: HullConfig,
) -> dict[str, Any]:
    """Return the numbers of a hull's card.

    Args:
        entries: all entries of the hull.
        used: which of them compete, (n,) bool.
        older: entries on the older scale.
        newer: entries on MP2020.
        shift: fitted from the older scale to MP2020.
        config: the recipe.
    """
    hull = Hull.load(config.out)
    compositions, before = differences(older, newer)
    elements_only = fit_scale(compositions, before, delta=config.delta, extra_terms=False)
    random = np.random.default_rng(config.seed)
    exact = newer.take(random.choice(len(newer.formulas), SAMPLE, replace=False))
    gap = np.abs(energies_above_hull(hull, exact.compositions, exact.hull_energies)) * 1000
    return {
        "n_compounds": len(hull),
        "n_systems": len({composition.chemical_system for composition in entries.compositions}),
        "n_elements": len(hull.elements),
        "n_older": len(older.formulas),
        "n_newer": len(newer.formulas),
        "folds": FOLDS,
        "sample": SAMPLE,
        "scales": {
            "n": len(before),
            "before": _sizes(before),
            "after": _sizes(before - [shift.energy(composition) for composition in compositions]),
            "held_out": _sizes(_cross_validated(compositions, before, config)),
            "elements_only": _sizes(before - [elements_only.energy(c) for c in compositions]),
        },
        "n_stable": int(entries.stable.sum()),
        "n_standing_in": int((used & ~entries.stable).sum()),
        "redundant": 1000 * REDUNDANT,
        "merged": {"mean": float(gap.mean()), "most": float(np.quantile(gap, 0.99))},
        "left_out": _leave_one_out(hull, config),
    }


def _cross_validated(
    compositions: list[Composition], difference: np.ndarray, config: HullConfig
) -> np.ndarray:
    """Return each difference less a shift fitted without its fold, eV/atom, (n,)."""
    out = np.zeros(len(difference))
    fold = np.random.default_rng(config.seed).integers(FOLDS, size=len(difference))
    for k in range(FOLDS):
        rest, part = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        shift = fit_scale([compositions[i] for i in rest], difference[rest], delta=config.delta)
        out[part] = difference[part] - [shift.energy(compositions[i]) for i in part]
    return out


def _sizes(difference: np.ndarray) -> list[float]:
    size = np.abs(difference)
    return [float(size.mean()), float(np.median(size)), float(np.quantile(size, 0.99))]


def _leave_one_out(hull: Hull, config: HullConfig) -> dict[str, Any]:
    import pandas as pd

    tables = [read_set(config.data, name) for name in MP2020_SETS]
    entries = pd.concat(tables, ignore_index=True)
    is_compound = np.array([len(c) > 1 for c in parse(entries["pretty_formula"].tolist())])
    entries = entries[is_compound].sample(SAMPLE, random_state=config.seed)
    reported = np.array(entries["e_above_hull"], dtype=float)
    energies = np.array(entries["formation_energy_per_atom"], dtype=float)
    compositions = parse(entries["pretty_formula"].tolist())
    predicted = np.maximum(energies_above_hull(hull, compositions, energies, known=False), 0.0)
    error = np.abs(predicted - reported)
    above = reported > 0
    return {
        "error": float(error.mean()),
        "n_above": int(above.sum()),
        "error_above": float(error[above].mean()),
        "detection": {
            str(threshold): list(detection(predicted, reported, threshold).values())
            for threshold in THRESHOLDS
        },
    }


def detection(predicted: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    """Precision, recall, F1 and specificity of ``predicted <= threshold`` for ``truth <= threshold``."""
    predicted_stable, true = predicted <= threshold, truth <= threshold
    hits = float((predicted_stable & true).sum())
    return {
        "precision": hits / predicted_stable.sum(),
        "recall": hits / true.sum(),
        "f1": 2 * hits / (predicted_stable.sum() + true.sum()),
        "specificity": float((~predicted_stable & ~true).sum()) / (~true).sum(),
    }
