"""Crystal structure prediction: from a formula to its likely crystals, ranked by energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.analysis.inputs import Sample, fingerprint, pack, unpack
from invdesign.analysis.structure_prediction.starting_structures import (
    Plan,
    Start,
    StructureSources,
    plan_starts,
)
from invdesign.campaign.components import Components
from invdesign.campaign.validate import check_elements, check_generators, check_least, check_names
from invdesign.core.target import Target, parse_target
from invdesign.core.target_parser import amounts_of, reduced_as_written
from invdesign.crystal.cif import write_cif
from invdesign.crystal.structure_files import file_formula
from invdesign.errors import InputError
from invdesign.filters.novelty import novelty_word
from invdesign.io.journal import Journal
from invdesign.io.lock import locked_folder
from invdesign.io.parallel import one_thread
from invdesign.io.progress import Progress, no_progress
from invdesign.io.provenance import write_run_json
from invdesign.io.tables import Tabular, write_csv
from invdesign.relaxation.parallel import CHUNK, relax_structures

if TYPE_CHECKING:
    from pymatgen.core import Structure

Notice = Callable[[str], None]

TABLE = "polymorphs.csv"
CIFS = "cifs"
JOURNAL = "relaxed.jsonl"
GENERATORS = ("structure-types", "gene-diffusion")
FMAX = 0.05  # eV/Å: polymorphs differ by less than designed crystals do
MAX_STEPS = 200
PLANNING = 0.1  # share of the progress bar


@dataclass(frozen=True)
class Polymorph:
    """A distinct relaxed crystal of a formula.

    Attributes:
        formula: reduced, its elements in the order that was given.
        rank: 1 for the lowest in energy of its formula.
        space_group: of the relaxed structure, within 0.1 Å.
        relative: energy above the lowest polymorph of the formula, eV/atom.
        energy: of the potential, eV/atom.
        e_above_hull: eV/atom, on the reference hull.
        sigma: standard deviation of ``e_above_hull``, eV/atom.
        novelty: ``known``, ``composition known`` (structure not at hand), ``new structure`` or ``new``.
        known: ids of known crystals with this gene, or known crystals of the composition.
        found: number of starting structures that relaxed into it.
        symmetry_kept: whether the lowest of these kept its symmetry when relaxed without constraint.
        origin: generator and geometry of the lowest one's starting structure.
        gene: of the relaxed structure.
        structure: relaxed.
    """

    formula: str
    rank: int
    space_group: int
    relative: float
    energy: float
    e_above_hull: float
    sigma: float
    novelty: str
    known: str
    found: int
    symmetry_kept: bool | None
    origin: str
    gene: str
    structure: Structure

    @property
    def cif_file(self) -> str:
        """Name of its CIF in the results' folder."""
        return f"{CIFS}/{file_formula(self.formula)}_{self.rank:02d}_{self.space_group}.cif"

    def row(self) -> dict[str, Any]:
        """Return a row of the table."""
        return {
            "formula": self.formula,
            "rank": self.rank,
            "space_group": self.space_group,
            "n_atoms": len(self.structure),
            "mev_above_best": round(1000 * self.relative, 1),
            "energy_ev_per_atom": round(self.energy, 5),
            "e_above_hull": round(self.e_above_hull, 4),
            "e_above_hull_sigma": round(self.sigma, 4),
            "novelty": self.novelty,
            "known": self.known,
            "symmetry_kept": "" if self.symmetry_kept is None else self.symmetry_kept,
            "found": self.found,
            "origin": self.origin,
            "gene": self.gene,
            "volume": round(self.structure.volume, 3),
            "cif_file": self.cif_file,
        }


@dataclass(frozen=True)
class PolymorphResults(Tabular):
    """The predicted crystals of some formulas.

    Attributes:
        polymorphs: by formula in the order given, lowest energy first.
        without: a sentence per formula without a polymorph on why there is none.
    """

    polymorphs: list[Polymorph]
    without: dict[str, str]

    def __repr__(self) -> str:
        """Return how many crystals of how many formulas were found."""
        formulas = {polymorph.formula for polymorph in self.polymorphs}
        return f"<structure prediction: {len(self.polymorphs)} crystals of {len(formulas)} formulas>"

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per crystal, as in ``polymorphs.csv``."""
        return [polymorph.row() for polymorph in self.polymorphs]


def predict_structure(
    formulas: str | Sequence[str],
    *,
    out: str | Path = "prediction",
    n_candidates: int = 64,
    polymorphs: int = 10,
    n_atoms: str | int | None = None,
    space_group: str | None = None,
    seed: int = 0,
    potential: str = "chgnet",
    calibration: str | None = None,
    hull: str = "mp-hull",
    generators: Sequence[str] = GENERATORS,
    workers: int | None = None,
    progress: Progress = no_progress,
    notice: Notice = lambda _sentence: None,
) -> PolymorphResults:
    """Predict the crystals of formulas, ranked by energy.

    Generators propose genes of each formula; the geometry source gives geometries to genes without one. All
    are relaxed, first within their symmetry, then without constraint.

    >>> predict_structure("NiAl", out="prediction").polymorphs[0].structure  # doctest: +SKIP

    Args:
        formulas: such as ``Li2FeSiO4``, one or a list; a formula unit of at most 20 atoms. Each is reduced.
        out: folder for ``polymorphs.csv``, a CIF per crystal and ``run.json``; the same call resumes.
        n_candidates: starting structures relaxed per formula.
        polymorphs: most crystals reported per formula; another number relaxes nothing again.
        n_atoms: ``5..20``, or a number, in the primitive cell of the starting structures.
        space_group: numbers, symbols or ranges of the starting structures.
        seed: the same seed gives the same crystals.
        potential: relaxes and ranks.
        calibration: brings its energies to the hull's scale; default: the calibration of the potential.
        hull: reference hull.
        generators: ``structure-types`` (known crystals with the elements replaced), or names or folders of
            generators.
        workers: processes; default: one per core.
        progress: receives the share done and a message.
        notice: receives a sentence on each formula that is not reduced.

    Returns:
        The polymorphs, and why formulas have none.

    Raises:
        InputError: not a formula, no generator can make it, an element that potential, calibration or
            hull do not know, or ``out`` holds another prediction or is in use.
    """
    formulas = [formulas] if isinstance(formulas, str) else list(formulas)
    out = Path(out)
    check_least(1, n_candidates=n_candidates, polymorphs=polymorphs, workers=workers)
    check_least(0, seed=seed)
    targets = _targets(formulas, notice, n_atoms=n_atoms, space_group=space_group)
    check_generators(generators)
    check_names(hull=hull, calibration=calibration)
    components = Components(potential=potential, calibration=calibration, hull=hull)
    check_elements(targets, components, "hull")
    settings = {"generators": list(generators), "n_candidates": n_candidates, "seed": seed}
    settings |= {"n_atoms": n_atoms, "space_group": space_group, "fmax": FMAX, "max_steps": MAX_STEPS}
    with locked_folder(out, JOURNAL):
        settings |= _scale(components, targets)
        plans = _plans(targets, n_candidates, seed, _sources(generators), progress)
        starts = [start for plan in plans.values() for start in plan.starts]
        identity = settings | {"starts": _identity(starts)}
        journal = Journal(out / JOURNAL, "prediction", identity)
        relaxed = _relaxed([start.structure for start in starts], potential, journal, workers, progress)
        crystals, counts = _ranked(plans, relaxed, components)
        _write(crystals, polymorphs, out)
        settings["polymorphs"] = polymorphs
        write_run_json(out, {"predict_structure": settings, "formulas": counts})
    shown = [polymorph for found in crystals.values() for polymorph in found[:polymorphs]]
    without = {formula: count["without"] for formula, count in counts.items() if "without" in count}
    return PolymorphResults(shown, without)


def _targets(
    formulas: Sequence[str], notice: Notice, *, n_atoms: str | int | None, space_group: str | None
) -> dict[str, Target]:
    """Return a target per reduced formula; each composition once."""
    targets: dict[str, Target] = {}
    for text in formulas:
        target = parse_target(formula=text, n_atoms=n_atoms, space_group=space_group)
        taken = reduced_as_written(text)
        if taken != "".join(text.split()):
            notice(f"{text} is reduced to {taken}: starting structures have {_units(taken, target)}")
        if target not in targets.values():
            targets[taken] = target
    if not targets:
        raise InputError("formula: none was given; give one such as Li2FeSiO4.")
    return targets


def _units(formula: str, target: Target) -> str:
    """Describe the number of formula units of the starting structures."""
    unit = sum(amounts_of(formula, "formula").values())
    fewest, most = -(-target.n_atoms[0] // unit), target.n_atoms[1] // unit
    if fewest == most:
        return f"{most} formula unit{'s' if most > 1 else ''} in the primitive cell."
    return f"{fewest} to {most} formula units in the primitive cell; --n-atoms narrows the range."


def _scale(components: Components, targets: dict[str, Target]) -> dict[str, str]:
    """Name everything that decides the energies.

    Raises:
        InputError: the calibration is another potential's, or one of them does not know an element.
    """
    components.check_scale()
    for kind in ("potential", "calibration"):
        check_elements(targets, components, kind)
    potential = components.get("potential")
    names = {"potential": potential.name, "calibration": components.calibration or potential.name}
    return names | {"weights": potential.digest, "hull": components.hull}


def _sources(generators: Sequence[str]) -> StructureSources:
    from invdesign.generators.registry import load_generator
    from invdesign.generators.substitution.structure_types import StructureTypes

    chosen = [
        StructureTypes.load() if name == StructureTypes.name else load_generator(name) for name in generators
    ]
    return StructureSources(chosen, Components().get("geometry"))


def _plans(
    targets: dict[str, Target], n: int, seed: int, sources: StructureSources, progress: Progress
) -> dict[str, Plan]:
    plans = {}
    for number, (formula, target) in enumerate(targets.items()):
        progress(PLANNING * number / len(targets), f"starting structures of {formula}")
        with one_thread():
            plans[formula] = plan_starts(target, n, seed, sources)
    return plans


def _identity(starts: Sequence[Start]) -> str:
    return fingerprint([Sample(str(start.gene), start.structure) for start in starts])


def _relaxed(
    structures: list[Structure],
    potential: str,
    journal: Journal,
    workers: int | None,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Relax; return how each relaxation ended as plain JSON. Whole chunks of an earlier run are reused."""
    done = {entry["number"]: entry for entry in journal.entries}
    pieces = [range(i, min(i + CHUNK, len(structures))) for i in range(0, len(structures), CHUNK)]
    todo = [i for piece in pieces if not all(i in done for i in piece) for i in piece]
    results = relax_structures(
        [structures[i] for i in todo],
        potential,
        workers=workers,
        fmax=FMAX,
        max_steps=MAX_STEPS,
        keep_symmetry=True,
    )
    for place, result in results if todo else ():
        entry = {
            "number": todo[place],
            "energy": result.energy / len(result.structure) if isfinite(result.energy) else None,
            "converged": bool(result.converged),
            "symmetry_kept": result.symmetry_kept,
            "n_steps": int(result.n_steps),
            "reason": result.reason,
            "crystal": pack(result.structure),
        }
        journal.append(entry)
        done[todo[place]] = entry
        share = len(done) / len(structures)
        progress(
            PLANNING + (1 - PLANNING) * share, f"{len(done)} of {len(structures)} starting structures relaxed"
        )
    return [done[i] for i in range(len(structures))]


def _ranked(
    plans: dict[str, Plan], relaxed: Sequence[dict[str, Any]], components: Components
) -> tuple[dict[str, list[Polymorph]], dict[str, dict[str, Any]]]:
    """Return all polymorphs by formula, and the counts that led to them."""
    crystals, counts = {}, {}
    entries = iter(relaxed)
    for formula, plan in plans.items():
        ended = list(islice(entries, len(plan.starts)))
        crystals[formula] = _polymorphs(formula, plan, ended, components)
        counts[formula] = {
            "offered": plan.offered,
            "relaxed": len(ended),
            "converged": sum(entry["converged"] for entry in ended),
            "polymorphs": len(crystals[formula]),
        }
        if not crystals[formula]:
            counts[formula]["without"] = _why_none(formula, ended)
    return crystals, counts


def _why_none(formula: str, relaxed: Sequence[dict[str, Any]]) -> str:
    converged = sum(entry["converged"] for entry in relaxed)
    if not relaxed:
        why = "no starting structure is plausible; allow other atoms or space groups, or add a generator."
    elif not converged:
        first = relaxed[0]["reason"]
        why = f"none of {len(relaxed)} relaxations converged (the first: {first}); raise n_candidates."
    else:
        why = f"none of the {converged} converged crystals is plausible; raise n_candidates."
    return f"{formula}: {why}"


def _polymorphs(
    formula: str, plan: Plan, relaxed: Sequence[dict[str, Any]], components: Components
) -> list[Polymorph]:
    """Return the distinct, plausible, converged crystals, lowest energy first."""
    from invdesign.crystal.matching import unique_groups
    from invdesign.crystal.symmetry import SymmetryError, gene_of
    from invdesign.filters.geometry import geometry_check

    sound = []
    for start, entry in zip(plan.starts, relaxed, strict=True):
        if not entry["converged"]:
            continue
        structure = unpack(entry["crystal"])
        try:
            gene = gene_of(structure)[0]
        except SymmetryError:
            continue
        if geometry_check(structure).passed:
            sound.append((entry["energy"], start, entry, structure, gene))
    sound.sort(key=lambda crystal: crystal[0])
    groups = unique_groups([crystal[3] for crystal in sound])
    known = components.get("known")
    found: list[Polymorph] = []
    for group, (energy, start, entry, structure, gene) in zip(groups, sound, strict=True):
        if group < len(found):  # the lowest of this group is there already
            continue
        novelty = known.novelty(gene, structure)
        place = components.placement(structure, energy * len(structure))
        found.append(
            Polymorph(
                formula=formula,
                rank=len(found) + 1,
                space_group=gene.space_group,
                relative=energy - sound[0][0],
                energy=energy,
                e_above_hull=place.e_above_hull,
                sigma=place.sigma,
                novelty=novelty_word(novelty),
                known=novelty.reason,
                found=groups.count(group),
                symmetry_kept=entry["symmetry_kept"],
                origin=start.origin,
                gene=str(gene),
                structure=structure,
            )
        )
    return found


def _write(crystals: dict[str, list[Polymorph]], most: int, out: Path) -> None:
    """Write the table and the CIFs of the best ``most``."""
    (out / CIFS).mkdir(parents=True, exist_ok=True)
    rows = []
    for polymorph in chain.from_iterable(crystals.values()):
        file = out / polymorph.cif_file
        if polymorph.rank > most:
            file.unlink(missing_ok=True)  # an earlier call may have shown more
            continue
        write_cif(polymorph.structure, file, symmetrised=True)
        rows.append(polymorph.row())
    write_csv(out / TABLE, rows, ("formula", "rank"))
