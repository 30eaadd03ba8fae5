"""Energy above hull through a calibration, against the alternative: a hull of the potential's energies.

The self-consistent hull takes the competing phases' energies from the potential too, so that errors which
phases and candidate share cancel. It can hold only phases with structures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from invdesign.stability.calibration import EnergyCalibration
from invdesign.stability.hull.hull import Hull
from invdesign.training.stability.calibration_data import HYPOTHETICAL, EvaluatedSet, known_targets
from invdesign.training.stability.hull import (
    MP2020_SETS,
    HullEntries,
    detection,
    energies_above_hull,
    to_hull,
)

if TYPE_CHECKING:
    from pymatgen.core import Composition

THRESHOLDS = (0.05, 0.1)
LOWER = 1e-4  # eV/atom by which another entry of a composition must lie lower to be its competitor


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


def compare_hulls(
    calibration: EnergyCalibration,
    samples: dict[str, EvaluatedSet],
    residual: np.ndarray,
    truth: np.ndarray,
    hull: Hull,
) -> dict[str, dict[str, list[float]]]:
    """Measure the hulls that a candidate with the potential's energy could meet, on the same entries."""
    compositions, targets = known_targets(samples)
    dft = np.concatenate([samples[name].formation for name in MP2020_SETS])
    energies = dft + targets - [calibration.references.energy(c) for c in compositions]
    dft_phases, consistent = hull_of(compositions, dft), hull_of(compositions, energies)
    mixed = with_energies(hull, compositions, dft, energies)
    found = {}
    for name, every in (
        ("mpts52", held_out_known(samples, residual, hull)),
        ("wbm", hypothetical(calibration, samples[HYPOTHETICAL], truth)),
    ):
        covered = [set(map(str, c)) <= consistent.elements for c in every.compositions]
        test = _take(every, np.flatnonzero(covered))
        # DFT on the restricted hull: what coverage costs is out of the metrics with this truth
        restricted = energies_above_hull(dft_phases, test.compositions, test.dft, known=not test.left_out)
        by_structures, self_consistent = test.on(dft_phases), test.on(consistent)
        found[name] = {
            "reference": hull_metrics(test.on(hull), test.truth),
            "mixed": hull_metrics(test.on(mixed), test.truth),
            "structures": hull_metrics(by_structures, test.truth),
            "self_consistent": hull_metrics(self_consistent, test.truth),
            "structures_own_truth": hull_metrics(by_structures, restricted),
            "self_consistent_own_truth": hull_metrics(self_consistent, restricted),
        }
    return found


def _take(test: HullTest, chosen: np.ndarray) -> HullTest:
    return HullTest(
        [test.compositions[i] for i in chosen],
        test.dft[chosen],
        test.potential[chosen],
        test.truth[chosen],
        test.left_out,
    )


def hull_of(compositions: Sequence[Composition], energies: np.ndarray) -> Hull:
    """Hull of the lowest entry of each composition; elements at zero, as the references are fitted to."""
    lowest = _lowest(compositions, energies)
    entries = HullEntries(
        list(lowest),
        [compositions[i].reduced_composition for i in lowest.values()],
        energies[list(lowest.values())],
        np.ones(len(lowest), dtype=bool),
    )
    return to_hull(entries, entries.stable)


def with_energies(
    hull: Hull, compositions: Sequence[Composition], dft: np.ndarray, potential: np.ndarray
) -> Hull:
    """Return the hull with each entry moved by the potential's error on the composition's lowest entry."""
    lowest = _lowest(compositions, dft)
    moved = hull.energies.copy()
    for k, formula in enumerate(hull.formulas):
        if formula in lowest:
            moved[k] += potential[lowest[formula]] - dft[lowest[formula]]
    return Hull(hull.formulas, hull.numbers, hull.fractions, moved, hull.competing)


def _lowest(compositions: Sequence[Composition], energies: np.ndarray) -> dict[str, int]:
    """Index of the lowest entry by reduced formula of the compounds."""
    out: dict[str, int] = {}
    for i, composition in enumerate(compositions):
        key = composition.reduced_formula
        if len(composition) > 1 and (key not in out or energies[i] < energies[out[key]]):
            out[key] = i
    return out
