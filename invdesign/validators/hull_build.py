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
    """Points of a hull: one reduced composition each, with the hull's energy there (eV/atom, (n,))."""

    formulas: list[str]
    compositions: list[Composition]
    hull_energies: np.ndarray


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
    """Energies above hull of mp20, mpts52 (reported) and wbm (computed after the scale fix), 27 s → 5 s.

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
    heights: list[float] = []
    for source in (*MP2020_SETS, "wbm"):
        table = read_set(data, source)
        formulas += table["pretty_formula"].tolist()
        sources += [source] * len(table)
        rows += range(len(table))
        if source != "wbm":
            heights += table["e_above_hull"].tolist()
            continue
        heights += wbm_e_above_hull(table, phases, shift).tolist()
    return Labels(formulas, sources, np.array(rows), np.array(heights))


def wbm_e_above_hull(table: pd.DataFrame, hull: Hull, shift: EnergyScale) -> np.ndarray:
    """Heights above ``hull`` of rows with ``pretty_formula`` and older-scale ``formation_energy_per_atom``."""
    energies = on_mp2020(table, shift)
    return np.array(
        [
            hull.e_above_hull(composition, float(energy)).e_above_hull
            for composition, energy in zip(parse(table["pretty_formula"]), energies, strict=True)
        ]
    )


def on_mp2020(table: pd.DataFrame, shift: EnergyScale) -> np.ndarray:
    """Formation energies of older-scale rows on the MP2020 scale, eV/atom."""
    shifts = [shift.energy(composition) for composition in parse(table["pretty_formula"])]
    return table["formation_energy_per_atom"].to_numpy() + np.array(shifts)


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
    heights = older["decomposition_energy_per_atom"].clip(lower=0.0)
    newer = pd.concat([read_set(data, name) for name in MP2020_SETS], ignore_index=True)
    return (
        _pins(older["formula"], older["formation_energy_per_atom"] - heights),
        _pins(newer["pretty_formula"], newer["formation_energy_per_atom"] - newer["e_above_hull"]),
    )


def _pins(formulas: Sequence[str], hull_energies: Sequence[float]) -> Pins:
    """One pin per reduced composition, the lowest; elements are not pins, they define zero."""
    lowest: dict[str, tuple[float, Composition]] = {}
    for composition, energy in zip(parse(formulas), hull_energies, strict=True):
        key = composition.reduced_formula
        if len(composition) > 1 and (key not in lowest or energy < lowest[key][0]):
            lowest[key] = (float(energy), composition.reduced_composition)
    keys = sorted(lowest)
    return Pins(keys, [lowest[key][1] for key in keys], np.array([lowest[key][0] for key in keys]))


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
    extra = [i for i, formula in enumerate(older.formulas) if formula not in have]
    compositions = [older.compositions[i] for i in extra]
    shifted = older.hull_energies[extra] + np.array([shift.energy(c) for c in compositions])
    return Pins(
        newer.formulas + [older.formulas[i] for i in extra],
        newer.compositions + compositions,
        np.concatenate([newer.hull_energies, shifted]),
    )


def to_hull(pins: Pins) -> Hull:
    """A hull of these pins."""
    return Hull(pins.formulas, *_arrays(pins), pins.hull_energies)


def _arrays(pins: Pins) -> tuple[np.ndarray, np.ndarray]:
    width = max(len(composition) for composition in pins.compositions)
    numbers = np.zeros((len(pins.formulas), width), dtype=np.uint8)
    amounts = np.zeros((len(pins.formulas), width), dtype=np.uint16)
    for i, composition in enumerate(pins.compositions):
        for j, (element, amount) in enumerate(composition.items()):
            numbers[i, j], amounts[i, j] = element.Z, round(amount)
    return numbers, amounts


def save(pins: Pins, shift: EnergyScale, folder: Path) -> None:
    """Write ``hull.npz`` (energies to single precision, 2e-7 eV/atom) and the shift."""
    numbers, amounts = _arrays(pins)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "hull.npz",
        formulas=np.frombuffer("\n".join(pins.formulas).encode(), dtype=np.uint8),
        numbers=numbers,
        amounts=amounts,
        energies=pins.hull_energies.astype(np.float32),
    )
    (folder / SHIFT).write_text(json.dumps(shift.coefficients, indent=1) + "\n")
