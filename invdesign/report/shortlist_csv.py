"""The shortlist as ``shortlist.csv`` and CIF files."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from invdesign.composition.solid_solutions import mixing
from invdesign.composition.supply import supply_of
from invdesign.core.candidate import Candidate, Relaxation, Selection
from invdesign.core.placement import Placement
from invdesign.core.target import PROPERTIES
from invdesign.crystal.structure_files import file_formula, write_cif
from invdesign.filters.novelty import Novelty, novelty_word
from invdesign.filters.site_states import CONTRADICTION, holds_others, states_told
from invdesign.io.tables import write_csv

if TYPE_CHECKING:
    from pymatgen.core import Structure

CIF_FOLDER = "cifs"
NOVELTY_PHRASES = {
    Novelty.KNOWN: "known",
    Novelty.COMPOSITION_KNOWN: "its composition is known",
    Novelty.NEW: "a new composition",
    Novelty.NEW_STRUCTURE: "a new structure of a known composition",
}
CHECK_COLUMNS = {"phonons": "lowest_mode_thz", "md": "bonds_kept"}  # THz; share
Row = dict[str, Any]


def parts_of(candidate: Candidate) -> tuple[Structure, Relaxation, Placement, Selection]:
    """Return what every shortlisted candidate has: it was relaxed, placed, and selected."""
    parts = (candidate.structure, candidate.relaxation, candidate.placement, candidate.selection)
    assert all(part is not None for part in parts)  # noqa: S101
    return cast("tuple[Structure, Relaxation, Placement, Selection]", parts)


def cif_name(candidate: Candidate) -> str:
    """Return the file name of a shortlisted candidate's symmetrised CIF."""
    selection = parts_of(candidate)[-1]
    return f"{selection.rank:02d}_{file_formula(candidate.gene.formula)}.cif"


def write_cifs(shortlist: Sequence[Candidate], folder: Path) -> None:
    """Write ``NN_formula.cif`` with its symmetry, and the same without in the folder ``P1``."""
    (folder / "P1").mkdir(parents=True, exist_ok=True)
    for candidate in shortlist:
        name, structure = cif_name(candidate), parts_of(candidate)[0]
        write_cif(structure, folder / name, symmetrised=True)
        write_cif(structure, folder / "P1" / name, symmetrised=False)


def write_table(shortlist: Sequence[Candidate], path: Path) -> None:
    """Write the shortlist, best first; an empty one has only a header."""
    rows = [row_of(candidate) for candidate in shortlist]
    write_csv(path, rows, ("rank", "candidate", "formula"))


def row_of(candidate: Candidate) -> Row:
    """Return a row: energies in eV/atom, gaps in eV, lengths in Å, ``_low`` and ``_high`` at 90 %."""
    structure, relaxation, placement, selection = parts_of(candidate)
    row: Row = {
        "rank": selection.rank or 0,
        "candidate": candidate.id,
        "formula": candidate.gene.formula,
        "members": selection.members,
        "space_group": candidate.gene.space_group,
        "dimensionality": selection.dimensionality,
        "n_atoms": len(structure),
        "p_hit": round(selection.p_hit, 4),
    }
    if selection.worth is not None:
        row["worth"] = round(selection.worth, 4)
    if selection.pareto_rank is not None:
        row["pareto_rank"] = selection.pareto_rank
    for name, estimate in candidate.properties.items():
        row[name] = round(estimate.value, 4)
        row[f"{name}_low"] = round(estimate.low, 4)
        row[f"{name}_high"] = round(estimate.high, 4)
    novelty, held = candidate.verdicts["novelty"], candidate.verdicts.get("site states")
    return row | {
        "in_domain": "yes" if all(e.in_domain for e in candidate.properties.values()) else "no",
        **_checks(candidate),
        "novelty": novelty_word(novelty),
        "novelty_detail": novelty.reason,
        "why": selection.why,
        "synthesizability": round(selection.synthesizability, 3),
        **_supply(candidate),
        "charge_states": states_told(candidate.verdicts["charge balance"], held),
        "site_states": held.reason if held else "",
        **_first_placement(candidate),
        "decomposes_to": " + ".join(
            f"{share:.2f} {phase}" for phase, share in placement.decomposition.items()
        ),
        "n_phases": placement.n_phases,
        "energy_ev": round(relaxation.energy, 5),
        "n_steps": relaxation.n_steps,
        "fmax": round(relaxation.fmax, 4),
        "volume": round(structure.volume, 3),
        "density": round(float(structure.density), 3),
        "gene": str(candidate.gene),
        "geometry": candidate.origin.geometry or "",
        "generator": candidate.origin.generator,
        "cif_file": f"{CIF_FOLDER}/{cif_name(candidate)}",
        "reason": reason_of(candidate),
    }


def _checks(candidate: Candidate) -> Row:
    """Return the results of phonons and molecular dynamics, where these ran."""
    return {
        column: round(candidate.verdicts[gate].value or 0.0, 3)
        for gate, column in CHECK_COLUMNS.items()
        if gate in candidate.verdicts
    }


def _first_placement(candidate: Candidate) -> Row:
    """Return the first potential's E above hull, where another finished the candidate, and if they agree."""
    if candidate.first_placement is None:
        return {}
    return {
        "e_above_hull_first": round(candidate.first_placement.e_above_hull, 4),
        "potentials_agree": "yes" if candidate.potentials_agree else "no",
    }


def _supply(candidate: Candidate) -> Row:
    """Return supply risk (empty where unknown), mg/kg of the scarcest element, and toxic elements."""
    production, reserves, abundance, toxic = supply_of(candidate.gene.amounts)
    known = not isnan(production)
    return {
        "hhi_production": round(production) if known else "",
        "hhi_reserves": round(reserves) if known else "",
        "abundance": abundance,
        "toxic": " ".join(toxic),
    }


def reason_of(candidate: Candidate) -> str:
    """Return why a candidate is on the shortlist, in one sentence."""
    parts = [f"{parts_of(candidate)[-1].p_hit:.0%} likely a hit"]
    for name, estimate in candidate.properties.items():
        if name != "formation_energy_per_atom":
            known = PROPERTIES.get(name)
            words, unit = (known.words, f" {known.unit}") if known else (name.replace("_", " "), "")
            parts.append(f"{words} {estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f}){unit}")
    parts.append(NOVELTY_PHRASES[Novelty(int(candidate.verdicts["novelty"].value or 0))])
    return "; ".join([*parts, *doubts(candidate)]) + "."


def doubts(candidate: Candidate) -> list[str]:
    """Return what speaks against a shortlisted candidate though no gate rejects it, in few words each."""
    found = []
    if candidate.potentials_agree is False and (first := candidate.first_placement) is not None:
        found.append(f"the potentials disagree ({first.e_above_hull:.2f} eV/atom before finishing)")
    states = candidate.verdicts.get("site states")
    if states is not None and states.reason.startswith(CONTRADICTION):
        found.append(CONTRADICTION)
    charges = candidate.verdicts["charge balance"]
    if states is not None and holds_others(charges, states):
        found.append("its structure holds other states than its composition would")
    found += [f"{one} and {other} would share sites" for one, other in mixing(candidate.gene.amounts)]
    if not all(estimate.in_domain for estimate in candidate.properties.values()):
        found.append("outside the applicability domain of a model")
    return found
