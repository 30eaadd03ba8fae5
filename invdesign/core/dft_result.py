"""Results of DFT: one run, and what the runs of a candidate give together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class DftValues:
    """Values that DFT computes; None where unknown.

    Attributes:
        band_gap: eV.
        direct: whether the gap is direct.
        energy_per_atom: eV/atom, on the code's energy scale.
        formation_energy_per_atom: eV/atom, on the hull's energy scale.
        e_above_hull: eV/atom.
        scale: how the last two were obtained, or why they are unknown; a sentence.
        volume_per_atom: of the relaxed cell, Å³/atom.
        rmsd: of the relaxed positions from the predicted ones, Å.
        lowest_frequency: of the phonons, THz; negative where imaginary.
    """

    band_gap: float | None = None
    direct: bool | None = None
    energy_per_atom: float | None = None
    formation_energy_per_atom: float | None = None
    e_above_hull: float | None = None
    scale: str | None = None
    volume_per_atom: float | None = None
    rmsd: float | None = None
    lowest_frequency: float | None = None

    def value(self, prop: str) -> float | None:
        """Return a property by name; None where it is unknown or DFT does not compute it."""
        found: float | None = getattr(self, prop, None)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class DftRun(DftValues):
    """One calculation.

    Attributes:
        folder: relative to the campaign's where it lies in there.
        code, task, status: of the calculation.
        functional: ``PBE`` for the Materials Project's PBE with +U where it has it.
        settings: equal for energies that compare; None for a phonon check.
        reason: why it is not done, as a sentence.
    """

    folder: str
    code: str
    task: str
    status: str
    functional: str | None = None
    settings: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DftResult(DftValues):
    """A candidate's runs as one result.

    Attributes:
        code, functional, folder: of the run that gives the energy; None where all runs failed.
        tasks: of the runs that count.
        notes: on runs that do not count.
        failed: why there is no result; None where there is one.
        runs: all of the candidate.
    """

    code: str | None = None
    functional: str | None = None
    folder: str | None = None
    tasks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failed: str | None = None
    runs: tuple[DftRun, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the known values, for JSON."""
        return _known(asdict(self)) | {"runs": [_known(asdict(run)) for run in self.runs]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore what :meth:`as_dict` returned."""
        lists = {name: tuple(values[name]) for name in ("tasks", "notes")}
        return cls(**{**values, **lists, "runs": tuple(DftRun(**run) for run in values["runs"])})


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }
