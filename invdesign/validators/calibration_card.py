"""The card of a calibration: held-out errors by data set and chemistry, and what they do to E above hull."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.crystal.elements import SYMBOLS
from invdesign.data.splits import grouped_split
from invdesign.validators import calibration_build as building
from invdesign.validators.energy_scale import fit_scale, fractions, terms_of
from invdesign.validators.hull_build import MP2020_SETS, detection, heights, on_mp2020

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Composition

    from invdesign.validators.calibration import Calibration
    from invdesign.validators.energy_scale import EnergyScale
    from invdesign.validators.hull import Hull

THRESHOLDS = (0.05, 0.1)


_TERMS = {True: "anion and +U terms", False: "elements only"}


def render(
    calibration: Calibration,
    *,
    samples: dict[str, building.Sample],
    held_out: np.ndarray,
    hull: Hull,
    shift: EnergyScale,
    config: building.CalibrationConfig,
) -> str:
    """Measure and write the card.

    Args:
        calibration: fitted on all crystals.
        samples: mp20, mpts52 and wbm.
        held_out: references of the known crystals from fits without them (``hold_out``).
        hull: to measure E above hull against.
        shift: brings wbm to the hull's scale.
        config: the recipe.
    """
    wbm, offset = samples["wbm"], calibration.hypothetical_offset
    _, targets = building.known_targets(samples)
    residual = targets - held_out
    first = len(samples["mp20"].formulas)
    new = building.hypothetical_residual(calibration.references, wbm, shift)
    used = _TERMS[config.extra_terms]
    above = _wbm_heights(calibration, wbm, hull, shift)
    wrong = 1 - detection(*above[::-1], 0.1)["precision"]
    rows = _formation_rows(samples, residual, new, offset=offset, shift=shift, config=config)
    return f"""# Calibration of {calibration.potential}

Maps total energies of {calibration.potential} to formation energies on the scale of `mp-hull` (Materials
Project, PBE/PBE+U, MP2020 corrections): energy per atom minus reference energies ({used};
Huber regression, threshold {config.delta} eV/atom), plus {offset:.3f} eV/atom for hypothetical crystals.
{len(calibration.elements)} elements; an element in fewer than {building.MINIMUM} known crystals has none.

| file | what |
| --- | --- |
| `calibration.json` | reference energies (eV), offset (eV/atom), spread by element (eV) |
| `recipe.yaml` | `invdesign train` on it rebuilds this folder |

Data: {_counts(samples)}.
MP-20 (Xie et al. 2022) and MPTS-52 (Baird, Sparks 2022), Materials Project, CC BY 4.0: fit.
WBM (Wang, Botti, Marques 2021, via Matbench Discovery), CC BY 4.0: offset, spread, test.

## Formation energy, eV/atom

Single points at DFT geometries. Held out: {building.FOLDS} folds by reduced composition, all crystals once.

| crystals | mean absolute error | median | 90 % | mean |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

WBM comes on the older Materials Project scale; `mp-hull`'s shift brings it to MP2020.
What then remains is the potential's: a bias to the low side ("softening"). It is no matter of anion
corrections, since compounds without an anion have it too. Known crystals were in the training data of the
Materials Project's potentials, hypothetical ones were not: trust the wbm rows.

| chemistry | known: n | MAE | wbm: n | MAE | mean |
| --- | --- | --- | --- | --- | --- |
{_by_chemistry(samples, residual, new + offset)}

## Uncertainty

`sigma(composition)` is the mean over the atoms of a spread by element, fitted on WBM: median
{np.median(_sigmas(calibration, wbm.compositions)):.3f} eV/atom (the known crystals alone would have given
{np.quantile(np.abs(residual), 0.9) / building.Z90:.3f}). In {building.FOLDS}-fold cross-validation
± 1.645 sigma holds {_coverage(wbm, new):.1%} of WBM.

## Energy above hull

Against `{config.hull}`, the potential's energies against DFT's.

| crystals | threshold, eV/atom | MAE | precision | recall | F1 | specificity |
| --- | --- | --- | --- | --- | --- | --- |
{_above_hull(offset, samples["mpts52"], residual[first:], hull, above)}

MPTS-52: energies from references fitted without them, against the reported value; "left out": so is the
pin of their own composition. WBM: against DFT energies on the same hull (the hull's own gaps cancel).

Probability of E above hull < 0.1 eV/atom on WBM, as said and as seen, by fifths:
{_reliability(*above, _sigmas(calibration, wbm.compositions))}.

## Known weaknesses

- The potential counts too many as stable: even with the offset, {wrong:.0%} of the WBM crystals that it
  puts below 0.1 eV/atom are above. Strict stability (0 eV/atom) is inside the error.
- What relaxing with the potential itself, away from the DFT geometry, adds is not in these figures.
- Offset and spread come from element substitution in known prototypes (WBM); stranger crystals err more.
- An incomplete hull makes every energy above hull a lower bound (see `mp-hull`).
"""


def _formation_rows(
    samples: dict[str, building.Sample],
    residual: np.ndarray,
    new: np.ndarray,
    *,
    offset: float,
    shift: EnergyScale,
    config: building.CalibrationConfig,
) -> list[str]:
    """Formation-energy errors: held-out known crystals, wbm, and what the other choice of terms gives."""
    wbm, first = samples["wbm"], len(samples["mp20"].formulas)
    _, targets = building.known_targets(samples)
    known = dict(zip(MP2020_SETS, (residual[:first], residual[first:]), strict=True))
    other = config.model_copy(update={"extra_terms": not config.extra_terms})
    other_residual = targets - building.hold_out(samples, other)
    other_new = building.hypothetical_residual(
        building.fit_references(*building.known_targets(samples), other), wbm, shift
    )
    used, unused = _TERMS[config.extra_terms], _TERMS[not config.extra_terms]
    unshifted = new + (on_mp2020(wbm.compositions, wbm.formation, shift) - wbm.formation)
    return [
        *(_row(f"{name}, held out", errors) for name, errors in known.items()),
        _row("wbm", new),
        _row(f"wbm + {offset:.3f}", new + offset),
        _row("wbm, own references (held out)", _own_references(wbm, shift, config)),
        _row("wbm, not brought to MP2020", unshifted),
        _row(f"mp20, mpts52 with {used}", residual),
        _row(f"mp20, mpts52 with {unused}", other_residual),
        _row(f"wbm with {unused}", other_new),
    ]


def _row(name: str, errors: np.ndarray) -> str:
    size = np.abs(errors)
    figures = (size.mean(), np.median(size), np.quantile(size, 0.9), errors.mean())
    return f"| {name} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |"


def _counts(samples: dict[str, building.Sample]) -> str:
    return ", ".join(f"{name} {len(s.formulas)} ({s.failed} not evaluated)" for name, s in samples.items())


def _own_references(
    wbm: building.Sample, shift: EnergyScale, config: building.CalibrationConfig
) -> np.ndarray:
    """Residuals of WBM with references fitted on the other half of it: what a change of references can do."""
    targets = wbm.energies - on_mp2020(wbm.compositions, wbm.formation, shift)
    out = np.zeros(len(targets))
    halves = grouped_split(wbm.formulas, [0.5, 0.5], config.seed)
    for part, rest in (halves, halves[::-1]):
        scale = fit_scale(
            [wbm.compositions[i] for i in rest],
            targets[rest],
            delta=config.delta,
            ridge=1e-2,
            extra_terms=config.extra_terms,
        )
        out[part] = targets[part] - [scale.energy(wbm.compositions[i]) for i in part]
    return out


def _by_chemistry(samples: dict[str, building.Sample], known: np.ndarray, new: np.ndarray) -> str:
    def groups(compositions: Sequence[Composition]) -> dict[str, np.ndarray]:
        members: dict[str, list[int]] = {}
        for i, composition in enumerate(compositions):
            terms = terms_of(composition)
            extra = [term for term in terms if term not in SYMBOLS]
            anions = [f"anion {term[:-1]}" for term in extra if term.endswith("-")] or ["no anion"]
            metals = {f"+U metal with {term[-1]}" for term in extra if "|" in term}
            for name in (*anions, *metals):
                members.setdefault(name, []).append(i)
        return {name: np.array(indices) for name, indices in members.items()}

    compositions, _ = building.known_targets(samples)
    left, right = groups(compositions), groups(samples["wbm"].compositions)
    return "\n".join(
        f"| {name} | {len(left[name])} | {np.abs(known[left[name]]).mean():.3f} | {len(right[name])} "
        f"| {np.abs(new[right[name]]).mean():.3f} | {new[right[name]].mean():+.3f} |"
        for name in sorted(left, key=lambda name: -len(left[name]))
        if name in right
    )


def _sigmas(calibration: Calibration, compositions: Sequence[Composition]) -> np.ndarray:
    return np.array([calibration.sigma(composition) for composition in compositions])


def _coverage(wbm: building.Sample, residual: np.ndarray) -> float:
    """Share of held-out residuals inside ± 1.645 sigma, offset and spread fitted on the other folds."""
    inside = np.zeros(len(residual), dtype=bool)
    for part in grouped_split(wbm.formulas, [1 / building.FOLDS] * building.FOLDS, 0):
        rest = np.setdiff1d(np.arange(len(residual)), part)
        offset = -np.median(residual[rest])
        spread = building.fit_spread([wbm.compositions[i] for i in rest], residual[rest] + offset)
        mean = float(np.mean(list(spread.values())))
        for i in part:
            parts = fractions(wbm.compositions[i])
            sigma = sum(spread.get(symbol, mean) * share for symbol, share in parts.items())
            inside[i] = abs(residual[i] + offset) <= building.Z90 * sigma
    return float(inside.mean())


def _predicted(calibration: Calibration, wbm: building.Sample, *, hypothetical: bool) -> np.ndarray:
    return np.array(
        [
            calibration.formation_energy(c, float(e) * c.num_atoms, hypothetical=hypothetical)
            for c, e in zip(wbm.compositions, wbm.energies, strict=True)
        ]
    )


def _wbm_heights(
    calibration: Calibration, wbm: building.Sample, hull: Hull, shift: EnergyScale
) -> tuple[np.ndarray, np.ndarray]:
    """E above hull of WBM by DFT and by the potential (offset included), eV/atom."""
    truth = heights(hull, wbm.compositions, on_mp2020(wbm.compositions, wbm.formation, shift))
    return truth, heights(hull, wbm.compositions, _predicted(calibration, wbm, hypothetical=True))


def _above_hull(
    offset: float,
    mpts: building.Sample,
    residual: np.ndarray,
    hull: Hull,
    above: tuple[np.ndarray, np.ndarray],
) -> str:
    chosen = np.array([i for i, c in enumerate(mpts.compositions) if set(map(str, c)) <= hull.elements])
    compositions = [mpts.compositions[i] for i in chosen]
    energies, reported = (mpts.formation + residual)[chosen], mpts.reported[chosen]
    truth, predicted = above
    cases = [
        ("mpts52", heights(hull, compositions, energies), reported),
        ("mpts52, left out", heights(hull, compositions, energies, known=False), reported),
        ("wbm, no offset", predicted - offset, truth),
        ("wbm", predicted, truth),
    ]
    lines = []
    for name, said, true in cases:
        # known crystals are reported at or above zero
        error = np.abs((np.maximum(said, 0.0) if name.startswith("mpts") else said) - true).mean()
        for threshold in THRESHOLDS:
            figures = " | ".join(f"{value:.3f}" for value in detection(said, true, threshold).values())
            lines.append(f"| {name} | {threshold} | {error:.4f} | {figures} |")
    return "\n".join(lines)


def _reliability(truth: np.ndarray, predicted: np.ndarray, sigmas: np.ndarray) -> str:
    """Said against seen probability of lying under 0.1 eV/atom."""
    from scipy.stats import norm

    said = norm.cdf((0.1 - predicted) / sigmas)
    pairs = [
        f"{said[chosen].mean():.2f}, {(truth[chosen] <= 0.1).mean():.2f}"
        for low in (0.0, 0.2, 0.4, 0.6, 0.8)
        for chosen in [(said >= low) & (said < low + 0.2)]
    ]
    return "; ".join(pairs)
