"""The card of a calibration: held-out errors by data set and chemistry, and what they do to E above hull."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from invdesign.core.candidate import Z90
from invdesign.data.splits import grouped_split
from invdesign.stability.calibration import GROWTH_ENDS
from invdesign.stability.energy_corrections import fit_scale, terms_of
from invdesign.training.stability import calibration as building
from invdesign.training.stability.calibration_data import HYPOTHETICAL, known_targets
from invdesign.training.stability.calibration_uncertainty import FOLDS, Errors, Said, cross_validate
from invdesign.training.stability.hull import detection
from invdesign.training.stability.self_consistent_hull import (
    above_hull,
    compare_hulls,
    held_out_known,
    hypothetical,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Composition

    from invdesign.stability.calibration import Calibration
    from invdesign.stability.hull.hull import Hull
    from invdesign.training.stability.calibration_data import EvaluatedSet

    Samples = dict[str, EvaluatedSet]

_TERMS = {True: "elements, anions and +U metals", False: "elements only"}
POOR = 0.03  # eV/atom: a mean error of known crystals beyond which a card warns


def render(
    calibration: Calibration,
    *,
    samples: Samples,
    hull: Hull,
    config: building.CalibrationConfig,
) -> str:
    """Measure and write the card.

    Args:
        calibration: fitted on all crystals.
        samples: mp20, mpts52 and wbm.
        hull: to measure E above hull against.
        config: the recipe.
    """
    residual = building.hold_out(samples, config)
    errors = building.hypothetical_errors(calibration.references, samples[HYPOTHETICAL], hull)
    return f"""# Calibration of {calibration.potential}

Maps the potential's total energies to formation energies on the scale of `mp-hull` (Materials Project,
PBE/PBE+U, MP2020 corrections): energy per atom minus reference energies
({_TERMS[config.extra_terms]}; Huber regression, threshold {config.delta} eV/atom), plus
{calibration.hypothetical_offset:.3f} eV/atom for hypothetical crystals. {len(calibration.elements)} elements;
an element in fewer than {building.MINIMUM} known crystals has none.{_warning(residual)}

| file | what |
| --- | --- |
| `calibration.json` | reference energies (eV), offset (eV/atom), spread by element (eV), its growth |
| `recipe.yaml` | `invdesign train` on it rebuilds this folder |

Data: {_counts(samples)}.
MP-20 (Xie et al. 2022) and MPTS-52 (Baird, Sparks 2022), Materials Project, CC BY 4.0: references.
WBM (Wang, Botti, Marques 2021, via Matbench Discovery), CC BY 4.0: offset, spread, test.

{_formation(calibration, samples, residual, errors, config)}

{_scale(samples, residual, errors)}

{_uncertainty(calibration, errors, config)}

{_above(calibration, samples, residual, errors, hull)}

{_weaknesses(calibration, samples, errors)}
"""


def _warning(residual: np.ndarray) -> str:
    mean = np.abs(residual).mean()
    if mean <= POOR:
        return ""
    return (
        f"\n\n**Coarse**: known crystals err by {mean:.3f} eV/atom on average. Rank with it; for E above "
        "hull\nnear a threshold take a potential trained on Materials Project energies."
    )


def _counts(samples: Samples) -> str:
    return ", ".join(f"{name} {len(s.formulas)} ({s.failed} not evaluated)" for name, s in samples.items())


def _formation(
    calibration: Calibration,
    samples: Samples,
    residual: np.ndarray,
    errors: Errors,
    config: building.CalibrationConfig,
) -> str:
    wbm, first = samples[HYPOTHETICAL], len(samples["mp20"].formulas)
    offset = calibration.hypothetical_offset
    other = config.model_copy(update={"extra_terms": not config.extra_terms})
    compositions, targets = known_targets(samples)
    scale = building.fit_references(compositions, targets, other)
    other_new = wbm.energies - wbm.formation - [scale.energy(c) for c in wbm.compositions]
    relaxed = errors.relaxed().residual
    rows = [
        _row("mp20, held out", residual[:first]),
        _row("mpts52, held out", residual[first:]),
        _row("wbm", errors.residual),
        _row("wbm about its median", errors.residual - np.median(errors.residual)),
        *([_row(f"wbm, {len(relaxed)} relaxed with the potential", relaxed)] if len(relaxed) else []),
        *([_row(f"the same + {offset:.3f}", relaxed + offset)] if len(relaxed) else []),
        _row(f"mp20 and mpts52 with {_TERMS[config.extra_terms]} (used)", residual),
        _row(f"mp20 and mpts52 with {_TERMS[not config.extra_terms]}", building.hold_out(samples, other)),
        _row(f"wbm with {_TERMS[not config.extra_terms]}", other_new),
    ]
    return f"""## Formation energy, eV/atom

Single points at DFT geometries unless said. Held out: {FOLDS} folds by reduced composition.

| crystals | mean absolute error | median | 90 % | mean |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Known crystals were in the training data of the Materials Project's potentials, hypothetical ones were not:
trust the wbm rows."""


def _row(name: str, errors: np.ndarray) -> str:
    size = np.abs(errors)
    figures = (size.mean(), np.median(size), np.quantile(size, 0.9), errors.mean())
    return f"| {name} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |"


def _scale(samples: Samples, residual: np.ndarray, errors: Errors) -> str:
    """WBM's residual split into energy scale and potential, by chemistry."""
    wbm = samples[HYPOTHETICAL]
    bare = errors.residual + wbm.formation - wbm.as_published
    middle = -float(np.median(errors.residual))  # the offset of single points
    own = _own_references(errors, bare)
    control = [i for i, c in enumerate(wbm.compositions) if not _anions(c)]
    metals, rest = np.array(control), np.setdiff1d(np.arange(len(bare)), control)

    def sizes(chosen: np.ndarray) -> str:
        means = [np.abs(v[chosen] - np.median(v)).mean() for v in (bare, errors.residual, own)]
        return " | ".join(f"{mean:.4f}" for mean in means)

    rows = _by_chemistry(samples, residual, bare, errors.residual, middle)
    return f"""## WBM: its energy scale or the potential

WBM comes on the older Materials Project scale; `mp-hull`'s shift, fitted on DFT energies alone, brings it to
MP2020. Mean absolute error about the median, eV/atom:

| | as published | shifted | references refitted on the other half of WBM |
| --- | --- | --- | --- |
| compounds with an anion ({len(rest)}) | {sizes(rest)} |
| control: without ({len(metals)}) | {sizes(metals)} |

The scale is what the shift takes away{_share(bare, errors.residual)}.
What is left is the potential's: compare the control, which has hardly any scale error, and what a refit of
every term still takes from either. The shift itself errs by 0.007 on DFT energies (`mp-hull`'s card). Offset
and sigma are fitted after it.

By chemistry (a crystal with two anions counts twice): mean absolute error, wbm also about its offset, and
mean error.

| chemistry | known: n | MAE | wbm: n | as published | shifted | + {middle:.3f} | mean |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows}"""


def _share(bare: np.ndarray, shifted: np.ndarray) -> str:
    before, after = (float(np.abs(v - np.median(v)).mean()) for v in (bare, shifted))
    return f": {before - after:.4f} of {before:.4f} over all WBM ({1 - after / before:.0%})"


def _own_references(errors: Errors, bare: np.ndarray) -> np.ndarray:
    """Published residuals, every term refitted on the other half of WBM: what a change of scale can do."""
    out = np.zeros(len(bare))
    halves = grouped_split(errors.formulas, [0.5, 0.5], 0)
    for part, rest in (halves, halves[::-1]):
        scale = fit_scale([errors.compositions[i] for i in rest], bare[rest], delta=0.02, ridge=1e-2)
        out[part] = bare[part] - [scale.energy(errors.compositions[i]) for i in part]
    return out


def _anions(composition: Composition) -> list[str]:
    return [term[:-1] for term in terms_of(composition) if term.endswith("-")]


def _groups(compositions: Sequence[Composition]) -> dict[str, np.ndarray]:
    """Crystals by anion, and those with a +U metal in an oxide or fluoride."""
    members: dict[str, list[int]] = {}
    for i, composition in enumerate(compositions):
        anions = [f"anion {symbol}" for symbol in _anions(composition)] or ["no anion (control)"]
        metals = {f"+U metal with {t[-1]}" for t in terms_of(composition) if "|" in t}
        for name in (*anions, *metals):
            members.setdefault(name, []).append(i)
    return {name: np.array(indices) for name, indices in members.items()}


def _by_chemistry(
    samples: Samples, residual: np.ndarray, bare: np.ndarray, shifted: np.ndarray, offset: float
) -> str:
    known, new = _groups(known_targets(samples)[0]), _groups(samples[HYPOTHETICAL].compositions)
    lines = []
    for name in sorted(known, key=lambda name: -len(known[name])):
        if name in new:
            rows = new[name]
            sizes = [np.abs(values[rows]).mean() for values in (bare, shifted, shifted + offset)]
            cells = " | ".join(f"{value:.3f}" for value in sizes)
            own = f"{len(known[name])} | {np.abs(residual[known[name]]).mean():.3f}"
            lines.append(f"| {name} | {own} | {len(rows)} | {cells} | {shifted[rows].mean():+.3f} |")
    return "\n".join(lines)


def _uncertainty(calibration: Calibration, errors: Errors, config: building.CalibrationConfig) -> str:
    single = Errors(
        errors.formulas, errors.compositions, errors.residual, errors.heights, np.nan * errors.gain
    )
    said = {
        words: cross_validate(single, config.seed, by_element=element, by_height=height)
        for words, element, height in (
            ("one sigma for all", False, False),
            ("by element", True, False),
            ("by height", False, True),
            ("**by element and height**", True, True),
        )
    }
    final = cross_validate(errors, config.seed)
    if config.n_relaxed:
        said[f"**the same, {len(final.truth)} relaxed with the potential**"] = final
    typical = [calibration.sigma(c) for c in errors.compositions]
    rows = "\n".join(f"| {words} | {_figures(one)} |" for words, one in said.items())
    return f"""## Uncertainty

`sigma(composition, e_above_hull)`: the mean over the atoms of a spread by element (median over WBM
{np.median(typical):.3f} eV/atom), times 1 + {calibration.growth:.2f} × the predicted height in eV/atom
({1 + calibration.growth * 0.1:.2f} at 0.1, {1 + calibration.growth * GROWTH_ENDS:.2f} from {GROWTH_ENDS} on).
{_gain(errors)}
Held out ({FOLDS} folds by composition), share within ± {Z90:.3f} sigma (wanted: 0.9), all and by thirds of
the predicted height; log-likelihood per crystal (a few that err by an eV weigh much in it); continuous ranked
probability score in meV/atom (they do not); Brier score of the probability of lying under 0.05 and 0.1
eV/atom:

| sigma | covered | low third | middle | high third | log-likelihood | CRPS | Brier 0.05 | Brier 0.1 |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

Probability of E above hull < 0.1 eV/atom, as said and as seen, by fifths:
{_reliability(final)}."""


def _figures(said: Said) -> str:
    *shares, likelihood, crps, near, far = said.figures()
    cells = [f"{share:.3f}" for share in shares]
    return " | ".join([*cells, f"{likelihood:.3f}", f"{1000 * crps:.1f}", f"{near:.4f}", f"{far:.4f}"])


def _gain(errors: Errors) -> str:
    gain = errors.gain[np.isfinite(errors.gain)]
    if not len(gain):
        return "Fitted on WBM at DFT's geometries."
    median, mean = (f"{-1000 * value:.1f}" for value in (np.median(gain), gain.mean()))
    return (
        f"Fitted on WBM. {len(gain)} of its crystals were also relaxed with the potential, which lowers\n"
        f"them by {median} meV/atom (median; mean {mean}): offset and sigma are scaled to that."
    )


def _reliability(said: Said) -> str:
    """Said against seen probability of lying under 0.1 eV/atom."""
    probability, under = said.probability_below(0.1), said.truth <= 0.1
    pairs = [
        f"{probability[chosen].mean():.2f}, {under[chosen].mean():.2f}"
        for low in (0.0, 0.2, 0.4, 0.6, 0.8)
        for chosen in [(probability >= low) & (probability < low + 0.2)]
    ]
    return "; ".join(pairs)


def _above(
    calibration: Calibration,
    samples: Samples,
    residual: np.ndarray,
    errors: Errors,
    hull: Hull,
) -> str:
    unstable = int((held_out_known(samples, residual, hull).truth > 0.1).sum())
    judged = hypothetical(calibration, samples[HYPOTHETICAL], errors.heights)
    relaxed = "relaxed with the potential" if np.isfinite(errors.gain).any() else "at DFT's geometries"
    return f"""## Energy above hull

Against `mp-hull`; recall and specificity of "at most so far above the hull".

{above_hull(calibration, samples, residual, errors.heights, hull)}

MPTS-52: references fitted without the composition, against the reported value. `mp-hull` holds pins of these
very crystals, so the first row is no test. "Its entry left out" keeps the pins of other polymorphs; a novel
composition has none: the third row is the honest one ({unstable} crystals above 0.1: the specificity there is
known to ± {1.96 * np.sqrt(0.85 * 0.15 / unstable):.2f}). But potentials trained on the Materials Project
have seen these crystals. WBM, which none has seen: {len(judged.truth)} crystals
{relaxed}, against DFT energies on the same hull.

**Which hull.** The self-consistent alternative gives the competing phases the potential's energies too. It
can hold only phases with structures (mp20, mpts52), not the 85 000 compositions. Elements stay at zero: the
data lack the ground states of some (N, Mn, Cu). The same candidates against each; the first row of each set
is what `invdesign` uses; in the last two the truth is DFT on the hull of the same phases, so that coverage is
out of them:

{compare_hulls(calibration, samples, residual, errors.heights, hull)}"""


def _weaknesses(calibration: Calibration, samples: Samples, errors: Errors) -> str:
    judged = hypothetical(calibration, samples[HYPOTHETICAL], errors.heights)
    predicted = judged.truth + judged.potential - judged.dft
    wrong = 1 - detection(predicted, judged.truth, 0.1)["precision"]
    sigmas = np.array([calibration.sigma(c, h) for c, h in zip(judged.compositions, predicted, strict=True)])
    beyond = float((np.abs(judged.potential - judged.dft) > 3 * sigmas).mean())
    worst = sorted(calibration.spread, key=lambda symbol: -calibration.spread[symbol])[:8]
    return f"""## Known weaknesses

- Even with the offset, {wrong:.0%} of the WBM crystals that the potential puts below 0.1 eV/atom are above.
  Strict stability (0 eV/atom) is inside the error.
- The most uncertain elements: {", ".join(worst)}.
- Offset and spread come from element substitution in known prototypes (WBM); stranger crystals err more.
- Tails: {beyond:.1%} of WBM err by more than three sigma (a normal distribution: 0.3 %).
- An incomplete hull makes every energy above hull a lower bound (see `mp-hull`)."""
