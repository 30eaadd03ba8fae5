"""Known materials that already do what a campaign asks for: ``known.csv``, shown before the shortlist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.ranking import window_probability
from invdesign.core.candidate import Candidate, Estimate
from invdesign.core.properties import MEASURED_GAP, PBE_GAP, STABILITY
from invdesign.core.target import Target
from invdesign.crystal.dimensionality import dimensionality
from invdesign.filters.novelty import KnownMaterials, Novelty, Source

KNOWN_TABLE = "known.csv"
COLUMNS = ("ids", "formula", "space_group", "source")
MOST, MOST_OF_FORMULA = 50, 3
_UNKNOWN_HULL, _SAME_HULL = 0.05, 0.02  # eV/atom: where none is reported; differences below are none
_SOURCES = {
    Source.REPORTED: "Materials Project, experimental",
    Source.MATERIALS_PROJECT: "Materials Project",
    Source.AFLOW: "AFLOW, computed",
    Source.HYPOTHETICAL: "WBM, computed",
}
_REPORTED = {
    PBE_GAP: "band_gap_reported",
    MEASURED_GAP: "band_gap_measured",
    STABILITY: "e_above_hull_reported",
}
_GAPS = (PBE_GAP, MEASURED_GAP)


def known_rows(
    config: CampaignConfig, components: Components, candidates: Iterable[Candidate]
) -> list[dict[str, Any]]:
    """Return the known crystals that do what is asked, best first, 50 at most.

    These are the crystals of the index whose reported gaps lie in the windows, and those that the campaign
    came upon and that are predicted to, unless what is reported of them says otherwise. Crystals with a
    measured gap come first, then experimentally known ones, stable ones, small cells.

    Args:
        config: the campaign.
        components: what it is made of.
        candidates: all of the campaign.

    Returns:
        Rows: reported gaps in eV (``band_gap_reported``: PBE), energies in eV/atom; predicted values with
        the ends of their 90 % intervals, of the relaxed candidate where there is one, else of the known
        structure (without an energy above hull).
    """
    known, target = components.get("known"), config.target
    relaxed, proposed = _met(known, candidates)
    met = [*relaxed, *_likely(proposed, config, components)]
    rows = {*_fitting(known, target), *(row for row in met if _reported_fits(known, row, target))}
    chosen = _distinct(known, _best_first(known, sorted(rows)), config)
    others = [row for row in chosen if row not in relaxed]
    predicted = components.estimates([known.crystals.structure(row) for row in others])
    properties = {row: relaxed[row].properties for row in chosen if row in relaxed}
    properties |= dict(zip(others, predicted, strict=True))
    return [_row(known, row, properties[row]) for row in chosen]


def _met(known: KnownMaterials, candidates: Iterable[Candidate]) -> tuple[dict[int, Candidate], list[int]]:
    """Known crystals that candidates in their windows relaxed into, and those met as genes alone."""
    relaxed: dict[int, Candidate] = {}
    proposed: dict[int, None] = {}
    for candidate in candidates:
        novelty = candidate.verdicts.get("novelty")
        if novelty is None or novelty.value != Novelty.KNOWN:
            continue
        if candidate.structure is None:
            proposed |= dict.fromkeys(known.with_gene(candidate.gene))
        elif "properties" in candidate.verdicts and candidate.verdicts["properties"].passed:
            relaxed |= dict.fromkeys(known.same_as(candidate.structure), candidate)
    return relaxed, [row for row in proposed if row not in relaxed]


def _likely(rows: Sequence[int], config: CampaignConfig, components: Components) -> list[int]:
    """Those whose gene is predicted to lie in the windows."""
    known, target = components.get("known"), config.target
    estimates = components.gene_estimates([known.crystals.gene(row) for row in rows], target)
    return [
        row
        for row, found in zip(rows, estimates, strict=True)
        if window_probability(found, target.windows) >= max(config.min_probability, 0.5)
    ]


def _fitting(known: KnownMaterials, target: Target) -> Iterator[int]:
    """Crystals of the index that fit by what is reported of them; none where the target asks for no gap."""
    asked = [name for name in _GAPS if name in target.windows]
    if target.windows and not asked:
        return
    fits = known.of_elements(target.required, target.elements)
    fewest, most = target.n_atoms
    fits &= (known.crystals.n_atoms >= fewest) & (known.crystals.n_atoms <= most)
    if target.space_groups is not None:
        fits &= np.isin(known.crystals.space_groups, sorted(target.space_groups))
    some = np.zeros(len(fits), bool)
    for name in asked:
        values, window = known.reported[name].astype(float), target.windows[name]
        inside = (values >= window.low) & (values <= window.high)
        fits &= inside | np.isnan(values)
        some |= inside
    above = known.reported[STABILITY]
    fits &= (some | np.isfinite(above)) if not asked else some
    fits &= ~(above > target.e_above_hull_max)
    yield from np.flatnonzero(fits).tolist()


def _reported_fits(known: KnownMaterials, row: int, target: Target) -> bool:
    """Whether nothing reported of a crystal lies outside the windows."""
    values = {name: float(known.reported[name][row]) for name in _GAPS if name in target.windows}
    return all(value in target.windows[name] for name, value in values.items() if isfinite(value))


def _best_first(known: KnownMaterials, rows: Sequence[int]) -> list[int]:
    places = np.array(rows, dtype=int)
    above = np.nan_to_num(known.reported[STABILITY][places].astype(float), nan=_UNKNOWN_HULL)
    keys = (
        known.crystals.n_atoms[places],
        np.round(above / _SAME_HULL),
        (known.crystal_sources[places] & Source.REPORTED) == 0,
        np.isnan(known.reported[MEASURED_GAP][places]),
    )
    return [int(row) for row in places[np.lexsort(keys)]]


def _is_connected(known: KnownMaterials, row: int, target: Target) -> bool:
    """Whether a crystal is connected in as many directions as asked for."""
    if target.dimensionality == (0, 3):
        return True
    return target.connectivity_objection(dimensionality(known.crystals.structure(row))) is None


def _distinct(known: KnownMaterials, rows: Iterable[int], config: CampaignConfig) -> list[int]:
    """The first of each gene that the target allows: 50 at most, few of a formula unless it is asked for."""
    most = MOST if config.target.formula else MOST_OF_FORMULA
    chosen: dict[int, int] = {}
    formulas: Counter[str] = Counter()
    for row in rows:
        if int(known.genes[row]) in chosen:
            continue
        gene = known.crystals.gene(row)
        asked = config.target.allows(gene).passed and (not config.formulas or gene.formula in config.formulas)
        if asked and formulas[gene.formula] < most and _is_connected(known, row, config.target):
            chosen[int(known.genes[row])] = row
            formulas[gene.formula] += 1
        if len(chosen) == MOST:
            break
    return list(chosen.values())


def _row(known: KnownMaterials, row: int, estimates: dict[str, Estimate]) -> dict[str, Any]:
    gene, source = known.crystals.gene(row), Source(int(known.crystal_sources[row]))
    same = [row, *(other for other in known.with_gene(gene) if other != row)]
    reported = {_REPORTED[name]: float(column[row]) for name, column in known.reported.items()}
    table: dict[str, Any] = {
        "ids": " ".join(map(known.id_of, same)),
        "formula": gene.formula,
        "space_group": gene.space_group,
        "source": next(words for flag, words in _SOURCES.items() if flag & source),
        **{name: round(value, 3) if isfinite(value) else "" for name, value in reported.items()},
    }
    for name, estimate in estimates.items():
        table |= {
            name: round(estimate.value, 3),
            f"{name}_low": round(estimate.low, 3),
            f"{name}_high": round(estimate.high, 3),
        }
    return table
