"""Predictions for crystals outside the fits, compared with DFT: held_out.csv.gz, a row a crystal.

    python benchmarks/ranking/held_out.py ../shared/data

WBM's crystals of the parts ``calibration`` and ``test`` of the band-gap model's split are treated as a
campaign treats a candidate: relaxed with CHGNet, placed on ``mp-hull``, their gap predicted from the
relaxed crystal. mp20's of the same parts are given their gap as they are (CHGNet was trained on them: no
E above hull). Offset and uncertainty of the ``predicted`` values are fitted to WBM without the ``test``
rows; the ``released`` calibration has seen them. ``gap_gates``: whether a campaign for a gap would keep the
crystal for the oxidation states of its composition and its structure (in the stored table those of DFT's
structure). ``benchmarks/ranking/reliability.py`` reads the table.
"""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.core.target import parse_target
from invdesign.data.dataset import read_dataset
from invdesign.data.splits import grouped_split
from invdesign.data.tokens import tokenise
from invdesign.filters.charge_balance import suits
from invdesign.filters.site_states import site_states
from invdesign.potentials.registry import load_potential
from invdesign.predictors.property_predictor import PropertyPredictor
from invdesign.relaxation.relax import relax
from invdesign.stability.calibration import EnergyCalibration
from invdesign.stability.hull.hull import Hull
from invdesign.training.predictors.table import PARTS
from invdesign.training.stability.calibration import hypothetical_errors
from invdesign.training.stability.calibration_data import HYPOTHETICAL, read_evaluated
from invdesign.training.stability.calibration_uncertainty import Errors, fit_uncertainty
from invdesign.training.stability.hull import load_shift

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from invdesign.core.candidate import Estimate

CACHE = Path(".cache/invdesign")
OUT = Path(__file__).with_name("held_out.csv.gz")
EVALUATED = ("calibration", "test")
SEED = 0  # of the band-gap model's split
CHUNK = 64
GAP = parse_target("band_gap=1..2")
COLUMNS = ("source", "row", "formula", "part", "gap_gates", "gap", "gap_mean", "gap_sigma", "gap_p_zero")
COLUMNS += (
    "e_above_hull",
    "predicted_e_above_hull",
    "predicted_sigma",
    "released_e_above_hull",
    "released_sigma",
)


def parts_of(data: Path, source: str) -> dict[int, tuple[str, str]]:
    """Return formula and part of a data set's rows in the parts ``EVALUATED``, by row of its file."""
    tokens = tokenise(data / "structures" / f"{source}.csv.gz", CACHE)
    formulas = [tokens.gene(index).formula for index in range(len(tokens))]
    split = grouped_split(formulas, list(PARTS.values()), SEED)
    chosen = {
        int(tokens.row[i]): (formulas[i], part)
        for part, rows in zip(PARTS, split, strict=True)
        if part in EVALUATED
        for i in rows
    }
    return dict(sorted(chosen.items()))


def relaxed(rows: list[int], structures: list[Structure]) -> tuple[np.ndarray, list[Structure]]:
    """Energies (n,), eV/atom, nan where not converged, and structures; kept chunk by chunk."""
    from pymatgen.core import Lattice, Structure

    kept = CACHE / "ranking-relaxed"
    kept.mkdir(parents=True, exist_ok=True)
    potential, energies, found = load_potential("chgnet"), [], []
    for start in range(0, len(rows), CHUNK):
        path, own = kept / f"{rows[start]}-{CHUNK}.npz", structures[start : start + CHUNK]
        if not path.exists():
            results = relax(own, potential, fmax=0.1, max_steps=150, keep_symmetry=True)
            arrays = {f"cell{i}": r.structure.lattice.matrix for i, r in enumerate(results)}
            arrays |= {f"sites{i}": r.structure.frac_coords for i, r in enumerate(results)}
            arrays |= {f"numbers{i}": np.array(r.structure.atomic_numbers) for i, r in enumerate(results)}
            energy = np.array([r.energy if r.converged else np.nan for r in results])
            np.savez_compressed(path, energy=energy, **arrays)
            print(f"relaxed {start + len(own)} of {len(rows)}", flush=True)
        with np.load(path) as stored:
            energies.append(stored["energy"])
            found += [
                Structure(Lattice(stored[f"cell{i}"]), stored[f"numbers{i}"], stored[f"sites{i}"])
                for i in range(len(own))
            ]
    return np.concatenate(energies) / [len(structure) for structure in found], found


def energies_above_hull(
    data: Path, evaluated: dict[int, tuple[str, str]], energies: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute E above hull by DFT and predicted, with sigma, eV/atom, (n,) each, of relaxed WBM crystals."""
    hull, calibration = Hull.load(), EnergyCalibration.load()
    sample = read_evaluated(
        HYPOTHETICAL,
        data=data,
        potential="chgnet",
        cache=CACHE,
        shift=load_shift(),
        n_relaxed=0,
        seed=SEED,
    )
    assert sample.failed == 0  # noqa: S101 - rows of the file and of the sample are the same
    rows = np.array(list(evaluated))
    compositions = [sample.compositions[row] for row in rows]
    errors = hypothetical_errors(calibration.references, sample, hull)
    gain = np.full(len(sample.formulas), np.nan)
    gain[rows] = energies - sample.energies[rows]
    with_gain = Errors(errors.formulas, errors.compositions, errors.residual, errors.e_above_hull, gain)
    test = rows[[part == "test" for _, part in evaluated.values()]]
    fitted = fit_uncertainty(with_gain.take(np.setdiff1d(np.arange(len(gain)), test)))
    shifted = energies - [calibration.references.energy(composition) for composition in compositions]
    predicted = place(hull, compositions, shifted + fitted.offset)
    released = place(hull, compositions, shifted + calibration.hypothetical_offset)
    pairs = zip(compositions, released, strict=True)
    return {
        "e_above_hull": errors.e_above_hull[rows],
        "predicted_e_above_hull": predicted,
        "predicted_sigma": fitted.sigmas(compositions, predicted),
        "released_e_above_hull": released,
        "released_sigma": np.array([calibration.sigma(c, h) for c, h in pairs]),
    }


def place(hull: Hull, compositions: list, energies: np.ndarray) -> np.ndarray:
    """E above hull, eV/atom, (n,); nan where the energy is."""
    return np.array(
        [
            hull.e_above_hull(c, float(e)).e_above_hull if np.isfinite(e) else np.nan
            for c, e in zip(compositions, energies, strict=True)
        ]
    )


def table(data: Path, source: str) -> list[dict]:
    """Rows of one data set."""
    evaluated = parts_of(data, source)
    entries = [
        entry
        for row, entry in enumerate(read_dataset(data / "structures" / f"{source}.csv.gz"))
        if row in evaluated
    ]
    structures = [entry.structure for entry in entries]
    columns: dict[str, np.ndarray] = {}
    if source == HYPOTHETICAL:
        energies, structures = relaxed(list(evaluated), structures)
        columns = energies_above_hull(data, evaluated, energies)
    gaps: list[Estimate] = PropertyPredictor.load("band-gap", "band_gap").predict(structures)
    labels = gap_labels(data, source)
    return [
        {
            "source": source,
            "row": row,
            "formula": formula,
            "part": part,
            "gap_gates": int(suits(formula, GAP).passed and site_states(structures[i]).passed),
            "gap": labels[row],
            "gap_mean": round(gap.mean, 4),
            "gap_sigma": round(gap.sigma, 4),
            "gap_p_zero": round(gap.p_zero, 5),
            **{name: round(float(values[i]), 5) for name, values in columns.items()},
        }
        for i, ((row, (formula, part)), gap) in enumerate(zip(evaluated.items(), gaps, strict=True))
    ]


def gap_labels(data: Path, source: str) -> np.ndarray:
    """PBE gaps of every row of a data set, eV, (n,)."""
    from invdesign.composition.formula import read_compositions

    return read_compositions(data / "structures" / f"{source}.csv.gz").columns["band_gap"]


def main(data: Path) -> None:
    """Write the table."""
    rows = table(data, "mp20") + table(data, HYPOTHETICAL)
    with gzip.open(OUT, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
