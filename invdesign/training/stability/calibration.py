"""Fit a potential's calibration to known crystals and measure it on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from invdesign.crystal.elements import SYMBOLS
from invdesign.data.splits import grouped_split
from invdesign.io.progress import Progress
from invdesign.stability.calibration import GROWTH_ENDS, EnergyCalibration
from invdesign.stability.energy_corrections import EnergyScale, fit_scale, fractions, terms_of
from invdesign.stability.hull.hull import Hull
from invdesign.training.cards.render import write_card
from invdesign.training.recipe import DataRecipe
from invdesign.training.stability.calibration_data import (
    HYPOTHETICAL,
    EvaluatedSet,
    ground_states,
    known_targets,
    read_evaluated,
)
from invdesign.training.stability.calibration_uncertainty import (
    FOLDS,
    Errors,
    cross_validate,
    fit_uncertainty,
)
from invdesign.training.stability.hull import MP2020_SETS, detection, energies_above_hull, load_shift

if TYPE_CHECKING:
    from pymatgen.core import Composition

THRESHOLDS = (0.05, 0.1)  # eV/atom
LOWER = 1e-4  # eV/atom by which another entry of a composition must lie lower to be its competitor
MINIMUM = 5  # crystals an element must be in to get a reference energy


class CalibrationConfig(DataRecipe):
    """Recipe of a calibration; kind ``calibration``."""

    kind: Literal["calibration"]
    potential: str = "chgnet"
    hull: str = "mp-hull"
    delta: float = 0.02  # Huber threshold, eV/atom
    extra_terms: bool = False  # anion and +U terms; they do not pay for CHGNet
    n_relaxed: int = 2000  # hypothetical crystals to relax with the potential; 0 calibrates single points


def build(config: CalibrationConfig, *, progress: Progress) -> Path:
    """Fit, measure, and write data, card and recipe to ``config.out``."""
    from invdesign.potentials.registry import load_potential

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
    calibration = fit(potential.name, samples, hull, config)
    elements = ground_states(potential, calibration.elements)
    calibration = replace(calibration, digest=potential.digest, ground_states=elements)
    calibration.save(config.out)
    progress(0.85, "measuring")
    write_card(config, "calibration", measure_calibration(calibration, samples, hull, config))
    progress(1.0, f"calibration of {calibration.potential} in {config.out}")
    return config.out


def fit(
    potential: str, samples: dict[str, EvaluatedSet], hull: Hull, config: CalibrationConfig
) -> EnergyCalibration:
    """Fit references on all known crystals, offset and uncertainty on the hypothetical ones."""
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
    return EnergyCalibration(potential, references, offset, spread, growth)


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
    """Errors of the potential, offset not yet added, and DFT's energies above hull."""
    reference = np.array([references.energy(composition) for composition in sample.compositions])
    return Errors(
        sample.formulas,
        sample.compositions,
        residual=sample.energies - reference - sample.formation,
        e_above_hull=energies_above_hull(hull, sample.compositions, sample.formation),
        gain=sample.relaxed - sample.energies,
    )


def measure_calibration(
    calibration: EnergyCalibration, samples: dict[str, EvaluatedSet], hull: Hull, config: CalibrationConfig
) -> dict[str, Any]:
    """Return the numbers of a calibration's card.

    Args:
        calibration: fitted on all crystals.
        samples: mp20, mpts52 and wbm.
        hull: reference of the energies above hull.
        config: the recipe.
    """
    residual = hold_out(samples, config)
    errors = hypothetical_errors(calibration.references, samples[HYPOTHETICAL], hull)
    gain = errors.gain[np.isfinite(errors.gain)]
    test = hypothetical(calibration, samples[HYPOTHETICAL], errors.e_above_hull)
    predicted = test.truth + test.potential - test.dft
    sigmas = np.array([calibration.sigma(c, e) for c, e in zip(test.compositions, predicted, strict=True)])
    relaxing = {"n": len(gain), "median": -1000 * float(np.median(gain)), "mean": -1000 * float(gain.mean())}
    return {
        "potential": calibration.potential,
        "n_elements": len(calibration.elements),
        "least_crystals": MINIMUM,
        "n_ground_states": len(calibration.ground_states),
        "furthest_ground_states": furthest_ground_states(calibration),
        "extra_terms": config.extra_terms,
        "huber_threshold": config.delta,
        "offset": calibration.hypothetical_offset,
        "known_error": float(np.abs(residual).mean()),
        "folds": FOLDS,
        "data": [{"name": name, "n": len(s.formulas), "failed": s.failed} for name, s in samples.items()],
        "formation": _formation(calibration, samples, residual, errors, config),
        "chemistry": _chemistry(samples, residual, errors),
        "median_sigma": float(np.median([calibration.sigma(c) for c in errors.compositions])),
        "growth": calibration.growth,
        "growth_ends": GROWTH_ENDS,
        "relaxing": relaxing if len(gain) else None,
        **_uncertainty(errors, config),
        "above_hull": above_hull(calibration, samples, residual, errors.e_above_hull, hull),
        "n_unstable": int((held_out_known(samples, residual, hull).truth > 0.1).sum()),
        "n_hypothetical": len(test.truth),
        "false_stable": 1 - detection(predicted, test.truth, 0.1)["precision"],
        "most_uncertain": sorted(calibration.spread, key=lambda symbol: -calibration.spread[symbol])[:8],
        "beyond_three_sigma": float((np.abs(test.potential - test.dft) > 3 * sigmas).mean()),
    }


def furthest_ground_states(calibration: EnergyCalibration) -> list[tuple[str, float]]:
    """Elements whose ground state lies furthest from their reference, with the difference, eV/atom."""
    references = calibration.references.coefficients
    found = {symbol: energy - references[symbol] for symbol, energy in calibration.ground_states.items()}
    return sorted(found.items(), key=lambda item: -abs(item[1]))[:8]


def _formation(
    calibration: EnergyCalibration,
    samples: dict[str, EvaluatedSet],
    residual: np.ndarray,
    errors: Errors,
    config: CalibrationConfig,
) -> dict[str, list[float]]:
    wbm, first = samples[HYPOTHETICAL], len(samples["mp20"].formulas)
    other = config.model_copy(update={"extra_terms": not config.extra_terms})
    compositions, targets = known_targets(samples)
    scale = fit_references(compositions, targets, other)
    found = {
        "mp20": residual[:first],
        "mpts52": residual[first:],
        "wbm": errors.residual,
        "wbm_about_median": errors.residual - np.median(errors.residual),
        "known": residual,
        "known_other_terms": hold_out(samples, other),
        "wbm_other_terms": wbm.energies - wbm.formation - [scale.energy(c) for c in wbm.compositions],
    }
    relaxed = errors.relaxed().residual
    if len(relaxed):
        found["wbm_relaxed"] = relaxed
        found["wbm_relaxed_with_offset"] = relaxed + calibration.hypothetical_offset
    return {name: _sizes(values) for name, values in found.items()}


def _sizes(errors: np.ndarray) -> list[float]:
    """Return the mean, median and 0.9 quantile of absolute errors, and the mean error."""
    size = np.abs(errors)
    return [float(x) for x in (size.mean(), np.median(size), np.quantile(size, 0.9), errors.mean())]


def _chemistry(
    samples: dict[str, EvaluatedSet], residual: np.ndarray, errors: Errors
) -> list[dict[str, Any]]:
    """Errors by anion, and of +U metals in oxides and fluorides."""
    known, new = _groups(known_targets(samples)[0]), _groups(samples[HYPOTHETICAL].compositions)
    return [
        {
            "name": name,
            "n_known": len(known[name]),
            "known": float(np.abs(residual[known[name]]).mean()),
            "n_wbm": len(new[name]),
            "wbm": float(np.abs(errors.residual[new[name]]).mean()),
            "mean": float(errors.residual[new[name]].mean()),
        }
        for name in sorted(known, key=lambda name: -len(known[name]))
        if name in new
    ]


def _groups(compositions: Sequence[Composition]) -> dict[str, np.ndarray]:
    """Return crystals by anion, and those with a +U metal in an oxide or fluoride."""
    members: dict[str, list[int]] = {}
    for i, composition in enumerate(compositions):
        terms = terms_of(composition)
        anions = [f"anion {term[:-1]}" for term in terms if term.endswith("-")] or ["no anion (control)"]
        metals = {f"+U metal with {term[-1]}" for term in terms if "|" in term}
        for name in (*anions, *metals):
            members.setdefault(name, []).append(i)
    return {name: np.array(indices) for name, indices in members.items()}


def _uncertainty(errors: Errors, config: CalibrationConfig) -> dict[str, Any]:
    single = Errors(
        errors.formulas, errors.compositions, errors.residual, errors.e_above_hull, np.nan * errors.gain
    )
    found = {
        "single_points": cross_validate(single, config.seed),
        "relaxed": cross_validate(errors, config.seed),
    }
    final = found["relaxed"]
    probability, under = final.probability_below(0.1), final.truth <= 0.1
    fifths = [(probability >= low) & (probability < low + 0.2) for low in (0.0, 0.2, 0.4, 0.6, 0.8)]
    return {
        "uncertainty": {
            "single_points": cross_validate(single, config.seed).metrics(),
            "relaxed": final.metrics(),
        },
        "reliability": [[float(probability[rows].mean()), float(under[rows].mean())] for rows in fifths],
    }


@dataclass(frozen=True, slots=True)
class HullTest:
    """Crystals to place on a hull.

    Attributes:
        compositions: n.
        dft: DFT formation energies, eV/atom, (n,).
        potential: the potential's, as a campaign would have them, eV/atom, (n,).
        truth: E above hull by DFT, eV/atom, (n,).
        left_out: whether their composition is taken from the hull.
    """

    compositions: list[Composition]
    dft: np.ndarray
    potential: np.ndarray
    truth: np.ndarray
    left_out: bool

    def on(self, hull: Hull) -> np.ndarray:
        """Return E above hull of the potential's energies, eV/atom, (n,)."""
        return energies_above_hull(hull, self.compositions, self.potential, known=not self.left_out)


def held_out_known(samples: dict[str, EvaluatedSet], residual: np.ndarray, hull: Hull) -> HullTest:
    """MPTS-52's compounds against the reported E above hull, their compositions left out of the hull.

    Args:
        samples: by data set.
        residual: of all known crystals, from fits without them (``hold_out``).
        hull: whose elements the compounds must have.
    """
    sample = samples["mpts52"]
    chosen = np.array(
        [i for i, c in enumerate(sample.compositions) if len(c) > 1 and set(map(str, c)) <= hull.elements]
    )
    errors = residual[-len(sample.formulas) :]
    return HullTest(
        [sample.compositions[i] for i in chosen],
        sample.formation[chosen],
        (sample.formation + errors)[chosen],
        sample.reported[chosen],
        left_out=True,
    )


def hypothetical(calibration: EnergyCalibration, sample: EvaluatedSet, truth: np.ndarray) -> HullTest:
    """Hypothetical crystals, relaxed with the potential if any were, against DFT on the same hull.

    Args:
        calibration: whose offset is added.
        sample: n crystals.
        truth: DFT's E above hull, eV/atom, (n,); gaps in the hull are in both and cancel.
    """
    relaxed = np.isfinite(sample.relaxed)
    chosen = np.flatnonzero(relaxed if relaxed.any() else ~relaxed)
    compositions = [sample.compositions[i] for i in chosen]
    found = np.where(relaxed, sample.relaxed, sample.energies)[chosen]
    energies = [
        calibration.formation_energy(c, float(e) * c.num_atoms)
        for c, e in zip(compositions, found, strict=True)
    ]
    return HullTest(compositions, sample.formation[chosen], np.array(energies), truth[chosen], left_out=False)


def hull_metrics(predicted: np.ndarray, truth: np.ndarray) -> list[float]:
    """Return the MAE of energies above hull, then F1, recall and specificity at both thresholds.

    Known crystals are reported at or above zero: there the predictions are cut at zero too.
    """
    error = np.abs((np.maximum(predicted, 0.0) if truth.min() >= 0 else predicted) - truth).mean()
    found = [detection(predicted, truth, threshold) for threshold in THRESHOLDS]
    return [float(error), *(one[name] for one in found for name in ("f1", "recall", "specificity"))]


def above_hull(
    calibration: EnergyCalibration,
    samples: dict[str, EvaluatedSet],
    residual: np.ndarray,
    truth: np.ndarray,
    hull: Hull,
) -> dict[str, list[float]]:
    """Measure on the reference hull: MPTS-52 with ever less of itself in it, WBM with and without offset."""
    known = held_out_known(samples, residual, hull)
    in_hull = energies_above_hull(hull, known.compositions, known.potential)
    left_out = known.on(hull)
    polymorph = has_lower_polymorph(samples, known)
    new = hypothetical(calibration, samples[HYPOTHETICAL], truth)
    shifted = new.on(hull)
    return {
        "mpts52_in_hull": hull_metrics(in_hull, known.truth),
        "mpts52_entry_left_out": hull_metrics(np.where(polymorph, in_hull, left_out), known.truth),
        "mpts52_composition_left_out": hull_metrics(left_out, known.truth),
        "wbm_without_offset": hull_metrics(shifted - calibration.hypothetical_offset, new.truth),
        "wbm": hull_metrics(shifted, new.truth),
    }


def has_lower_polymorph(samples: dict[str, EvaluatedSet], known: HullTest) -> np.ndarray:
    """Whether another entry of the composition lies lower: then the hull has another crystal, (n,)."""
    lowest: dict[str, float] = {}
    for name in MP2020_SETS:
        for composition, energy in zip(samples[name].compositions, samples[name].formation, strict=True):
            key = composition.reduced_formula
            lowest[key] = min(lowest.get(key, np.inf), float(energy))
    entries = zip(known.compositions, known.dft, strict=True)
    return np.array([lowest[composition.reduced_formula] < energy - LOWER for composition, energy in entries])
