"""The machine-readable shortlist: OPTIMADE structures with predictions and expected powder patterns.

``docs/reference/shortlist-json.md`` says what every field means, ``shortlist.schema.json`` next to
this file what a valid file is. The same campaign gives the same bytes: no time, no machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import gcd, isfinite
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from invdesign.core.candidate import Candidate, Estimate
from invdesign.core.target import PROPERTIES
from invdesign.core.target_parser import spelled
from invdesign.crystal.chemical_formula import formula_of
from invdesign.filters.novelty import novelty_word
from invdesign.io.atomic import atomic_write
from invdesign.report.shortlist_csv import CIF_FOLDER, cif_name, parts_of, reason_of
from invdesign.version import __version__

if TYPE_CHECKING:
    from pymatgen.core import Structure

SHORTLIST_JSON = "shortlist.json"
FORMAT = "1.0"  # of our fields; the first number changes when a reader of the old ones would be misled
OPTIMADE = "1.2.0"
RADIATION, WAVELENGTH = "CuKa", 1.54184  # Å, the mean of both lines
TWO_THETA = (5.0, 90.0)  # degrees
N_PEAKS = 20


def write_shortlist_json(shortlist: Sequence[Candidate], path: Path, made: Mapping[str, Any]) -> None:
    """Write a shortlist as an OPTIMADE response.

    Args:
        shortlist: best first.
        path: the file.
        made: how the whole shortlist came about, as plain JSON: ``target``, ``seed``, ``weights`` by part,
            and what else there is to say.
    """
    content = {
        "data": [_entry(candidate, made) for candidate in shortlist],
        "meta": {
            "query": {"representation": "/structures"},
            "api_version": OPTIMADE,
            "more_data_available": False,
            "data_returned": len(shortlist),
            "implementation": {"name": "invdesign", "version": __version__},
            "_invdesign_format": FORMAT,
            "_invdesign_campaign": dict(made),
        },
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def _entry(candidate: Candidate, made: Mapping[str, Any]) -> dict[str, Any]:
    structure, relaxation, placement, selection = parts_of(candidate)
    origin, novelty = candidate.origin, candidate.verdicts["novelty"]
    ours = {
        "rank": selection.rank,
        "p_hit": _plain(selection.p_hit),
        "worth": _plain(selection.worth),
        "pareto_rank": selection.pareto_rank,
        "members": selection.members.split(", ") if selection.members else [],
        "dimensionality": selection.dimensionality,
        "novelty": novelty_word(novelty),
        "novelty_detail": novelty.reason,
        "estimates": {name: _estimate(name, e) for name, e in candidate.properties.items()},
        "verdicts": [
            {
                "gate": verdict.gate,
                "passed": verdict.passed,
                "figure": _plain(verdict.value),
                "threshold": _plain(verdict.threshold),
                "reason": verdict.reason,
            }
            for verdict in candidate.verdicts.values()
        ],
        "decomposition": {phase: _plain(share) for phase, share in placement.decomposition.items()},
        "e_above_hull_first": candidate.first_placement and _plain(candidate.first_placement.e_above_hull),
        "potentials_agree": candidate.potentials_agree,
        "synthesizability": _plain(selection.synthesizability),
        "energy": _plain(relaxation.energy),
        "largest_force": _plain(relaxation.fmax),
        "density": _plain(float(structure.density)),
        "gene": str(candidate.gene),
        "xrd": powder_pattern(candidate),
        "provenance": {
            "generator": origin.generator,
            "batch": origin.batch,
            "seed": made["seed"],
            "geometry": origin.geometry,
            "proposed_gene": relaxation.proposed_gene,
            "target": made["target"],
            "potential": made["potential"],
            "placed_by": made["potential"] if candidate.first_placement is None else made["finish"],
            "weights": made["weights"],
        },
        "why": selection.why,
        "reason": reason_of(candidate),
        "cif_file": f"{CIF_FOLDER}/{cif_name(candidate)}",
    }
    attributes = optimade_attributes(structure, candidate.gene.space_group)
    attributes |= {f"_invdesign_{name}": value for name, value in ours.items()}
    return {"type": "structures", "id": candidate.id, "attributes": attributes}


def optimade_attributes(structure: Structure, space_group: int) -> dict[str, Any]:
    """Return the standard's fields of an ordered crystal; lengths in Å."""
    amounts = {str(element): int(n) for element, n in structure.composition.items()}
    unit = gcd(*amounts.values())
    reduced = {element: amounts[element] // unit for element in sorted(amounts)}
    return {
        "immutable_id": None,
        "last_modified": None,
        "elements": list(reduced),
        "nelements": len(reduced),
        "elements_ratios": [n / sum(reduced.values()) for n in reduced.values()],
        "chemical_formula_descriptive": formula_of(structure.composition),
        "chemical_formula_reduced": spelled(reduced),
        "chemical_formula_anonymous": spelled(
            dict(zip(ascii_uppercase, sorted(reduced.values(), reverse=True), strict=False))
        ),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": _rounded(structure.lattice.matrix.tolist()),
        "cartesian_site_positions": _rounded(structure.cart_coords.tolist()),
        "nsites": len(structure),
        "species": [
            {"name": element, "chemical_symbols": [element], "concentration": [1.0]} for element in reduced
        ],
        "species_at_sites": [str(species) for species in structure.species],
        "space_group_it_number": space_group,
        "structure_features": [],
    }


def powder_pattern(candidate: Candidate) -> dict[str, Any]:
    """Return the strongest peaks of the conventional cell's powder, Cu Kα, in order of angle."""
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    from invdesign.crystal.symmetry import realise

    assert candidate.geometry is not None  # noqa: S101 - shortlisted, so relaxed
    cell = realise(candidate.gene, candidate.geometry, primitive=False)
    pattern = XRDCalculator(wavelength=RADIATION).get_pattern(cell, two_theta_range=TWO_THETA)
    peaks: list[dict[str, Any]] = [
        {
            "two_theta": round(float(angle), 3),
            "d": round(float(d), 4),
            "intensity": round(float(intensity), 2),
            # of hexagonal axes it gives four indices, of which the third follows from the first two
            "hkl": [[int(x[0]), int(x[1]), int(x[-1])] for x in (family["hkl"] for family in families)],
        }
        for angle, intensity, families, d in zip(
            pattern.x, pattern.y, pattern.hkls, pattern.d_hkls, strict=True
        )
    ]
    strongest = sorted(peaks, key=lambda peak: (-peak["intensity"], peak["two_theta"]))[:N_PEAKS]
    return {
        "radiation": RADIATION,
        "wavelength": WAVELENGTH,
        "two_theta_range": list(TWO_THETA),
        "peaks": sorted(strongest, key=lambda peak: peak["two_theta"]),
    }


def _estimate(name: str, estimate: Estimate) -> dict[str, Any]:
    return {
        "value": _plain(estimate.value),
        "low": _plain(estimate.low),
        "high": _plain(estimate.high),
        "unit": PROPERTIES[name].unit if name in PROPERTIES else None,
        "in_domain": estimate.in_domain,
    }


def _plain(value: float | None) -> float | None:
    """Round to six digits; None where there is no value."""
    return None if value is None or not isfinite(value) else float(f"{value:.6g}")


def _rounded(rows: list[list[float]]) -> list[list[float]]:
    return [[round(x, 8) + 0.0 for x in row] for row in rows]  # + 0.0: no −0.0
