"""Fitting a potential's calibration to known crystals and judging it on others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from invdesign.crystal.elements import SYMBOLS
from invdesign.data.splits import grouped_split
from invdesign.stability.calibration import Calibration
from invdesign.stability.energy_corrections import EnergyScale, fit_scale, fractions
from invdesign.stability.hull.hull import Hull
from invdesign.training.stability.calibration_data import HYPOTHETICAL, known_targets, read_evaluated
from invdesign.training.stability.calibration_uncertainty import FOLDS, Errors, fit_uncertainty
from invdesign.training.stability.hull import MP2020_SETS, heights, load_shift

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pymatgen.core import Composition

    from invdesign.training.stability.calibration_data import EvaluatedSet

    Progress = Callable[[float, str], None]

MINIMUM = 5  # crystals an element must be in to get a reference energy


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
    n_relaxed: int = 2000  # hypothetical crystals to relax with the potential; 0 calibrates single points


def build(config: CalibrationConfig, *, progress: Progress) -> Path:
    """Fit, measure, and write data, card and recipe to ``config.out``."""
    import yaml

    from invdesign.potentials.registry import load_potential
    from invdesign.training.cards.calibration import render  # it measures with this module's functions

    hull, shift = Hull.load(config.hull), load_shift(config.hull)
    samples = {}
    for i, name in enumerate((*MP2020_SETS, HYPOTHETICAL)):
        progress(0.25 * i, f"energies of {name}")
        samples[name] = read_evaluated(
            name,
            data=config.data,
            potential=config.potential,
            cache=config.cache,
            shift=shift,
            n_relaxed=config.n_relaxed,
            seed=config.seed,
        )
    progress(0.75, "fitting")
    potential = load_potential(config.potential)
    calibration = replace(fit(potential.name, samples, hull, config), digest=potential.digest)
    calibration.save(config.out)
    (config.out / "recipe.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    progress(0.85, "measuring")
    card = render(calibration, samples=samples, hull=hull, config=config)
    (config.out / "README.md").write_text(card)
    progress(1.0, f"calibration of {calibration.potential} in {config.out}")
    return config.out


def fit(
    potential: str, samples: dict[str, EvaluatedSet], hull: Hull, config: CalibrationConfig
) -> Calibration:
    """References on all known crystals; offset and uncertainty on the hypothetical ones."""
    compositions, targets = known_targets(samples)
    counts: dict[str, int] = {}
    for composition in compositions:
        for symbol in fractions(composition):
            counts[symbol] = counts.get(symbol, 0) + 1
    scale = fit_references(compositions, targets, config)
    references = EnergyScale(
        {
            term: value
            for term, value in scale.coefficients.items()
            if term not in SYMBOLS or counts[term] >= MINIMUM
        }
    )
    found = fit_uncertainty(hypothetical_errors(references, samples[HYPOTHETICAL], hull))
    mean = float(np.mean(list(found.spread.values())))  # elements that no hypothetical crystal has
    symbols = [term for term in references.coefficients if term in SYMBOLS]
    spread = {symbol: round(found.spread.get(symbol, mean), 5) for symbol in symbols}
    offset, growth = round(found.offset, 5), round(found.growth, 3)
    return Calibration(potential, references, offset, spread, growth)


def fit_references(
    compositions: Sequence[Composition], targets: np.ndarray, config: CalibrationConfig
) -> EnergyScale:
    """Robust fit of the reference energies; hardly any ridge, since they are far from zero."""
    return fit_scale(compositions, targets, delta=config.delta, ridge=1e-6, extra_terms=config.extra_terms)


def hold_out(samples: dict[str, EvaluatedSet], config: CalibrationConfig) -> np.ndarray:
    """Residual of every known crystal with references fitted without its composition, eV/atom, (n,)."""
    compositions, targets = known_targets(samples)
    formulas = [formula for name in MP2020_SETS for formula in samples[name].formulas]
    out = np.zeros(len(targets))
    for part in grouped_split(formulas, [1 / FOLDS] * FOLDS, config.seed):
        rest = np.setdiff1d(np.arange(len(targets)), part)
        scale = fit_references([compositions[i] for i in rest], targets[rest], config)
        out[part] = targets[part] - [scale.energy(compositions[i]) for i in part]
    return out


def hypothetical_errors(references: EnergyScale, sample: EvaluatedSet, hull: Hull) -> Errors:
    """Errors of the potential, offset not yet added, and DFT's heights."""
    reference = np.array([references.energy(composition) for composition in sample.compositions])
    return Errors(
        sample.formulas,
        sample.compositions,
        residual=sample.energies - reference - sample.formation,
        heights=heights(hull, sample.compositions, sample.formation),
        gain=sample.relaxed - sample.energies,
    )
