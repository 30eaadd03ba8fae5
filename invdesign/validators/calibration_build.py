"""Fitting a potential's calibration to known crystals and judging it on others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from invdesign.crystal.elements import SYMBOLS
from invdesign.data.splits import grouped_split
from invdesign.validators.calibration import Calibration
from invdesign.validators.energy_scale import EnergyScale, fit_scale, fractions
from invdesign.validators.hull import Hull
from invdesign.validators.hull_build import MP2020_SETS, load_shift, on_mp2020, parse, read_set

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pymatgen.core import Composition

    from invdesign.validators.potential import Potential

    Progress = Callable[[float, str], None]

FOLDS = 5
MINIMUM = 5  # crystals an element must be in to get a reference energy
PRIOR = 20.0  # atoms' worth of the mean residual in an element's spread
POWER = 2.0  # atoms of "hard" elements dominate: with 1, intervals of the hardest quarter hold 83 %, not 90
COVERAGE = 0.90
Z90 = 1.6448536269514722
CHUNK = 256


class CalibrationConfig(BaseModel):
    """Recipe of a calibration; kind ``calibration``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["calibration"]
    potential: str = "chgnet"
    data: Path
    cache: Path = Path(".cache/invdesign")
    out: Path
    hull: str = "mp-hull"
    seed: int = 0
    delta: float = 0.02  # Huber threshold, eV/atom
    extra_terms: bool = False  # anion and +U terms; they do not pay for CHGNet


@dataclass(frozen=True, slots=True)
class Sample:
    """Crystals of one data set with the potential's energies and DFT's.

    Attributes:
        formulas: n, as in the source.
        compositions: the same, parsed.
        energies: the potential's, eV/atom, (n,).
        formation: DFT formation energies as the source has them, eV/atom, (n,).
        reported: DFT energy above hull, eV/atom, (n,); nan where the source has none.
        failed: crystals that the potential could not evaluate; left out of the rest.
    """

    formulas: list[str]
    compositions: list[Composition]
    energies: np.ndarray
    formation: np.ndarray
    reported: np.ndarray
    failed: int


def build(config: CalibrationConfig, *, progress: Progress) -> Path:
    """Fit, measure, and write data, card and recipe to ``config.out``."""
    import yaml

    from invdesign.validators.calibration_card import render  # it measures with this module's functions

    hull, shift = Hull.load(config.hull), load_shift(config.hull)
    samples = {}
    for i, name in enumerate((*MP2020_SETS, "wbm")):
        progress(0.3 * i, f"energies of {name}")
        potential_name, samples[name] = read_sample(config, name)
    progress(0.8, "fitting")
    held_out = hold_out(samples, config)
    calibration = fit(potential_name, samples, shift, config)
    calibration.save(config.out)
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    progress(0.9, "measuring")
    card = render(calibration, samples=samples, held_out=held_out, hull=hull, shift=shift, config=config)
    (config.out / "README.md").write_text(card)
    progress(1.0, f"calibration of {potential_name} in {config.out}")
    return config.out


def fit(
    potential: str, samples: dict[str, Sample], shift: EnergyScale, config: CalibrationConfig
) -> Calibration:
    """References on all known crystals; offset and spread on the hypothetical ones."""
    compositions, targets = known_targets(samples)
    counts: dict[str, int] = {}
    for composition in compositions:
        for symbol in fractions(composition):
            counts[symbol] = counts.get(symbol, 0) + 1
    scale = fit_references(compositions, targets, config)
    coefficients = {
        term: value
        for term, value in scale.coefficients.items()
        if term not in SYMBOLS or counts[term] >= MINIMUM
    }
    references = EnergyScale(coefficients)
    residual = hypothetical_residual(references, samples["wbm"], shift)
    offset = -float(np.median(residual))
    spread = fit_spread(samples["wbm"].compositions, residual + offset)
    symbols = [term for term in coefficients if term in SYMBOLS]
    mean = float(np.mean(list(spread.values())))  # elements that no hypothetical crystal has
    return Calibration(
        potential, references, round(offset, 5), {s: round(spread.get(s, mean), 5) for s in symbols}
    )


def known_targets(samples: dict[str, Sample]) -> tuple[list[Composition], np.ndarray]:
    """Compositions of the known crystals and energy minus formation energy, eV/atom, (n,)."""
    known = [samples[name] for name in MP2020_SETS]
    compositions = [composition for sample in known for composition in sample.compositions]
    return compositions, np.concatenate([sample.energies - sample.formation for sample in known])


def fit_references(
    compositions: Sequence[Composition], targets: np.ndarray, config: CalibrationConfig
) -> EnergyScale:
    """Robust fit of the reference energies; hardly any ridge, since they are far from zero."""
    return fit_scale(compositions, targets, delta=config.delta, ridge=1e-6, extra_terms=config.extra_terms)


def hold_out(samples: dict[str, Sample], config: CalibrationConfig) -> np.ndarray:
    """Reference energy of every known crystal from a fit without its composition, eV/atom, (n,)."""
    compositions, targets = known_targets(samples)
    formulas = [formula for name in MP2020_SETS for formula in samples[name].formulas]
    out = np.zeros(len(targets))
    for part in grouped_split(formulas, [1 / FOLDS] * FOLDS, config.seed):
        rest = np.setdiff1d(np.arange(len(targets)), part)
        scale = fit_references([compositions[i] for i in rest], targets[rest], config)
        out[part] = [scale.energy(compositions[i]) for i in part]
    return out


def hypothetical_residual(references: EnergyScale, wbm: Sample, shift: EnergyScale) -> np.ndarray:
    """Formation energy of the potential minus DFT's on the hull's scale, eV/atom, (n,)."""
    reference = np.array([references.energy(composition) for composition in wbm.compositions])
    return np.asarray(wbm.energies - reference - on_mp2020(wbm.compositions, wbm.formation, shift))


def fit_spread(compositions: Sequence[Composition], residual: np.ndarray) -> dict[str, float]:
    """Spread by element, eV, such that its mean over the atoms gives intervals of the wanted coverage.

    Each element's mean absolute residual (shrunk to the mean over all), to a power, weighted by atomic
    fraction; then one factor so that ``COVERAGE`` of the residuals lie inside.
    """
    size = np.abs(residual)
    parts = [fractions(composition) for composition in compositions]
    amount: dict[str, float] = {}
    total: dict[str, float] = {}
    for row, value in zip(parts, size, strict=True):
        for symbol, part in row.items():
            amount[symbol] = amount.get(symbol, 0.0) + part
            total[symbol] = total.get(symbol, 0.0) + part * value
    mean = size.mean()
    raw = {s: ((total[s] + PRIOR * mean) / (amount[s] + PRIOR)) ** POWER for s in amount}
    width = np.array([sum(raw[symbol] * part for symbol, part in row.items()) for row in parts])
    factor = float(np.quantile(size / width, COVERAGE)) / Z90
    return {symbol: factor * value for symbol, value in raw.items()}


def read_sample(config: CalibrationConfig, name: str) -> tuple[str, Sample]:
    """The potential's name, and a data set with its energies (computed once, then from the cache)."""
    table = read_set(config.data, name)
    potential, energies = potential_energies(config, config.data / "structures" / f"{name}.csv.gz")
    usable = np.flatnonzero(np.isfinite(energies))
    table = table.iloc[usable]
    formulas = table["pretty_formula"].tolist()
    no_report = np.full(len(table), np.nan)
    reported = table["e_above_hull"].to_numpy() if "e_above_hull" in table else no_report
    formation = table["formation_energy_per_atom"].to_numpy()
    failed = len(energies) - len(usable)
    return potential, Sample(formulas, parse(formulas), energies[usable], formation, reported, failed)


def potential_energies(config: CalibrationConfig, path: Path) -> tuple[str, np.ndarray]:
    """The potential's name and its energy of every crystal of a CSV, eV/atom, (n,), nan where it failed."""
    if config.potential in {"chgnet", "chgnet-0.3.0"}:
        from invdesign.validators.potential_table import potential_table

        table = potential_table(path, cache_dir=config.cache)
        return "chgnet-0.3.0", table.energy / np.maximum(table.n_atoms, 1)
    from invdesign.validators.potential import load_potential

    potential = load_potential(config.potential)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    stem = f"{path.name.split('.')[0]}-{digest}-{Path(potential.name).name}"
    target = config.cache / f"{stem}-energies.npy"
    if not target.is_file():
        config.cache.mkdir(parents=True, exist_ok=True)
        np.save(target, _evaluate(path, potential), allow_pickle=False)
    return potential.name, np.load(target, allow_pickle=False)


def _evaluate(path: Path, potential: Potential) -> np.ndarray:
    import pandas as pd
    from pymatgen.core import Structure

    cifs = pd.read_csv(path, keep_default_na=False, usecols=["cif"])["cif"]
    energies = []
    for start in range(0, len(cifs), CHUNK):
        structures = [Structure.from_str(cif, fmt="cif") for cif in cifs[start : start + CHUNK]]
        sizes = np.array([len(structure) for structure in structures])
        energies.append(potential.evaluate(structures).energy / sizes)
    return np.concatenate(energies)
