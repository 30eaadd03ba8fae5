"""The store of a campaign's candidates: an ASE database, one row each, rejected ones included.

``ase db run/candidates.db`` shows the main values (key-value pairs); verdicts and estimates are JSON in
``data``. A unit of work (a batch of genes, a chunk of relaxed candidates) is one transaction together
with the seconds it cost, so a run killed at any moment holds whole units only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.campaign.progress import Clock
from invdesign.core.candidate import Candidate, Estimate, Origin, Relaxation, RoundSelection, Selection
from invdesign.core.dft_result import DftResult
from invdesign.core.placement import Placement
from invdesign.errors import InputError
from invdesign.verdict import Verdict

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from ase import Atoms


FORMAT = 3
"""Layout of the rows; raised with every change of it."""


class Store:
    """The candidates of one campaign.

    Args:
        path: the SQLite file.
        identity: of the campaign; a missing file is created with it.

    Raises:
        InputError: the file is not a candidates database.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any] | None = None) -> None:
        from sqlite3 import DatabaseError

        if identity is not None and not path.exists():
            _create(path, identity)
        try:
            self._db = _connect(path)
            self._rows = {row.candidate: row.id for row in self._db.select(include_data=False)}
            self._meta: dict[str, Any] = dict(self._db.metadata)
        except (DatabaseError, AttributeError) as error:
            raise InputError(
                f"out: {str(path)!r} is not a candidates database ({error}); give an empty folder."
            ) from error
        if "identity" not in self._meta:
            raise InputError(
                f"out: {str(path)!r} is an ASE database of something else; give an empty folder."
            )
        if self._meta.get("format") != FORMAT:
            raise InputError(
                f"out: {str(path)!r} was written by another version of invdesign; give an empty folder."
            )
        self._since = time.monotonic()

    @property
    def identity(self) -> dict[str, Any]:
        """Return the identity of the campaign."""
        return dict(self._meta["identity"])

    @property
    def complete(self) -> bool:
        """Whether the campaign has ended."""
        return bool(self._meta.get("complete", False))

    @property
    def seconds(self) -> dict[str, list[float]]:
        """Wall and core seconds by stage of all the work stored."""
        return {stage: list(cost) for stage, cost in self._meta.get("seconds", {}).items()}

    @property
    def core(self) -> dict[str, float]:
        """Core seconds by generator of all the work on its candidates alone."""
        return dict(self._meta.get("core", {}))

    @property
    def elapsed(self) -> float:
        """Wall seconds of all sessions' work that was stored."""
        return float(self._meta.get("elapsed", 0.0))

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self._rows)

    def put(
        self,
        candidates: Sequence[Candidate],
        clock: Clock | None = None,
        *,
        generator: str | None = None,
        complete: bool = False,
    ) -> None:
        """Write one unit of work in one transaction: new candidates, or new knowledge of stored ones.

        Args:
            candidates: the rows to write or replace.
            clock: what the work cost; added to the stored seconds.
            generator: whose candidates they all are; it is charged too.
            complete: mark the campaign as ended.
        """
        now = time.monotonic()
        meta = {
            **self._meta,
            "seconds": self.seconds,
            "core": self.core,
            "elapsed": self.elapsed + now - self._since,
            "complete": complete,
        }
        for stage, (wall, core) in clock.seconds.items() if clock else ():
            before = meta["seconds"].get(stage, [0.0, 0.0])
            meta["seconds"][stage] = [before[0] + wall, before[1] + core]
            if generator is not None:
                meta["core"][generator] = meta["core"].get(generator, 0.0) + core
        written = {}
        with self._db:
            for candidate in candidates:
                self._db.change_count = 0  # ASE commits after 5000 writes; a unit is one transaction
                written[candidate.id] = self._db.write(
                    _atoms(candidate),
                    key_value_pairs=_searchable_values(candidate),
                    data=_pack(candidate),
                    id=self._rows.get(candidate.id),
                )
            self._db.metadata = meta
        self._rows.update(written)
        self._meta, self._since = meta, now

    def read(self, selection: str = "") -> list[Candidate]:
        """Return candidates by id; ``selection`` is one of ASE's, such as ``"status=relaxed"``."""
        with self._db:  # one connection for all rows, else ASE opens one for each
            candidates = [_unpack(row) for row in self._db.select(selection)]
        return sorted(candidates, key=lambda candidate: candidate.id)


def _connect(path: Path) -> Any:  # noqa: ANN401 - ASE's databases have no types
    import ase.db

    # ASE's lock file would outlive a kill and block the resumed run for ever
    return ase.db.connect(str(path), use_lock_file=False)


def _create(path: Path, identity: Mapping[str, Any]) -> None:
    """Create an empty store under another name and move it into place: a kill leaves a whole one or none."""
    draft = path.with_name(f".new.{path.name}")
    draft.unlink(missing_ok=True)
    database = _connect(draft)
    database.metadata = {"identity": dict(identity), "format": FORMAT}
    with database, database.managed_connection() as connection:
        # ASE finds a row's keys by id whenever it rewrites the row, and has no index for that
        for table in ("keys", "text_key_values", "number_key_values", "species"):
            connection.cursor().execute(f"CREATE INDEX {table}_of_row ON {table} (id)")
    draft.replace(path)


def _atoms(candidate: Candidate) -> Atoms:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    structure = candidate.structure
    if structure is None:
        return Atoms()
    atoms = Atoms(
        numbers=structure.atomic_numbers,
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )
    if candidate.relaxation is not None:
        atoms.calc = SinglePointCalculator(atoms, energy=candidate.relaxation.energy)
    return atoms


def status(candidate: Candidate) -> str:
    """Return how far a candidate came: rejected, gene (waiting to be relaxed), relaxed or shortlisted."""
    if not candidate.alive:
        return "rejected"
    if candidate.shortlisted:
        return "shortlisted"
    return "relaxed" if "relaxation" in candidate.verdicts else "gene"


def _searchable_values(candidate: Candidate) -> dict[str, str | float]:
    """Flat key-value pairs: to search and list by."""
    formula = candidate.gene.formula
    values: dict[str, str | float] = {
        "candidate": candidate.id,
        # ASE refuses text that reads as a number: sodium nitride, indium fluoride
        "compound": "".join(f"{el}{n:g}" for el, n in candidate.gene.composition.reduced_composition.items())
        if formula.lower() in {"nan", "inf"}
        else formula,
        "gene": str(candidate.gene),
        "space_group": candidate.gene.space_group,
        "status": status(candidate),
    }
    if rejected := [v.gate for v in candidate.verdicts.values() if not v.passed]:
        values["rejected_by"] = rejected[0]
    if "pre-ranking" in candidate.verdicts and (score := candidate.verdicts["pre-ranking"].value) is not None:
        values["prerank_score"] = score
    if candidate.structure is not None:
        for name, estimate in candidate.properties.items():
            values[name] = estimate.value
            values[f"{name}_low"] = estimate.low
            values[f"{name}_high"] = estimate.high
    optional: dict[str, float | None] = {"place": candidate.place}
    if candidate.selection is not None:
        optional |= {"rank": candidate.selection.rank, "worth": candidate.selection.worth}
        values["p_hit"] = candidate.selection.p_hit
    if candidate.relaxation is not None:
        optional["n_steps"] = candidate.relaxation.n_steps
    values |= {name: value for name, value in optional.items() if value is not None}
    for name in ("code", "band_gap", "e_above_hull", "formation_energy_per_atom", "volume_per_atom"):
        if candidate.dft is not None and (value := getattr(candidate.dft, name)) is not None:
            values[f"dft_{name}"] = value
    return values


_RECORDS = {
    "origin": Origin,
    "relaxation": Relaxation,
    "placement": Placement,
    "first_placement": Placement,
    "selection": Selection,
}
"""Class of each field of a candidate that is stored as it is."""


def _plain(record: DataclassInstance | None) -> dict[str, Any] | None:
    return None if record is None else asdict(record)


def _pack(candidate: Candidate) -> dict[str, Any]:
    geometry = candidate.geometry
    return {
        "gene": str(candidate.gene),
        "geometry": geometry
        and {"lattice": list(geometry.lattice), "free": [list(f) for f in geometry.free]},
        "place": candidate.place,
        "relaxation_steps": candidate.relaxation_steps,
        **{name: _plain(getattr(candidate, name)) for name in _RECORDS},
        "rounds": {str(number): asdict(found) for number, found in candidate.rounds.items()},
        "round_checks": [asdict(verdict) for verdict in candidate.round_checks.values()],
        "verdicts": [[v.gate, v.passed, v.reason, v.value, v.threshold] for v in candidate.verdicts.values()],
        "properties": {
            name: [e.mean, e.sigma, e.p_zero, e.in_domain, e.lognormal]
            for name, e in candidate.properties.items()
        },
        "dft": candidate.dft and candidate.dft.as_dict(),
    }


def _unpack(row: Any) -> Candidate:  # noqa: ANN401 - ASE's AtomsRow has no types
    from pymatgen.core import Lattice, Structure

    from invdesign.crystal.gene import Gene
    from invdesign.crystal.geometry import Geometry

    data = row.data
    geometry = data["geometry"]
    return Candidate(
        id=row.candidate,
        gene=Gene.parse(data["gene"]),
        place=data["place"],
        relaxation_steps=data["relaxation_steps"],
        **{name: data[name] and kind(**data[name]) for name, kind in _RECORDS.items()},
        rounds={
            int(number): RoundSelection(
                p_hit=found["p_hit"], estimates={k: tuple(v) for k, v in found["estimates"].items()}
            )
            for number, found in data["rounds"].items()
        },
        round_checks={verdict["gate"]: Verdict(**verdict) for verdict in data["round_checks"]},
        geometry=geometry
        and Geometry(tuple(geometry["lattice"]), tuple(tuple(free) for free in geometry["free"])),
        structure=Structure(Lattice(row.cell), row.numbers, row.positions, coords_are_cartesian=True)
        if row.natoms
        else None,
        verdicts={v[0]: Verdict(*v) for v in data["verdicts"]},
        properties={name: Estimate(*e) for name, e in data["properties"].items()},
        dft=data["dft"] and DftResult.from_dict(data["dft"]),
    )
