"""One GPAW calculation in its folder: copied there as ``run.py``, it needs GPAW and nothing of ours.

    python run.py        reads input.json and structure.vasp; writes trajectory.traj, gpaw.txt, result.json

``result.json`` is written last, once, whether the calculation went well or not. Killed before that, the
same command goes on from the last geometry of ``trajectory.traj``. What goes wrong with GPAW in silence
fails here by name: a cell relaxed at too low a cutoff, an odd grid, an energy that rose.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

INPUTS = ("input.json", "structure.vasp")
TRAJECTORY, RESULT, LOCK, LOG = "trajectory.traj", "result.json", "lock", "run.log"
RELAX_CUTOFF = 800.0  # eV; below, a relaxed cell carries Pulay stress and yet reports convergence
ROSE = 1e-3  # eV/atom that a relaxation may end above its start by noise
GPA = 160.21766208  # per eV/Å³
COUNTED = 0.01  # electrons; a level that holds so few more or fewer is full
PATH_DENSITY = 8.0  # k-points per Å⁻¹ (2π included) along the path between special points


class CalculationError(Exception):
    """Why a calculation gave no result to be used."""


def band_gap(eigenvalues: Any, fermi: Any, filled: float) -> dict[str, Any]:  # noqa: ANN401 - arrays or lists
    """Return the gap between occupied and empty bands (:func:`gap_above`), by the Fermi level.

    Args:
        eigenvalues: spin x k-point x band, eV.
        fermi: level, eV; where the moment is fixed, one for each spin.
        filled: bands that the electrons fill, of all spins: half the electrons without spin, else all.

    Raises:
        CalculationError: the bands do not tell.
    """
    bands, levels = np.asarray(eigenvalues, dtype=float), np.reshape(fermi, (-1, 1, 1))
    if len(levels) not in {1, len(bands)}:
        raise CalculationError(f"{len(levels)} Fermi levels for {len(bands)} spins: the gap is unknown")
    return gap_above(bands, (bands < levels).sum(axis=2), filled)


def gap_above(eigenvalues: np.ndarray, occupied: np.ndarray, filled: float) -> dict[str, Any]:
    """Return the gap above the occupied bands, in eV.

    It is 0 where their number differs among k-points, or where they would hold more or fewer electrons than
    there are: then a level is partly filled, however flat it is.

    Args:
        eigenvalues: spin x k-point x band, eV.
        occupied: number of bands that are, spin x k-point.
        filled: bands that the electrons fill, of all spins.

    Raises:
        CalculationError: an eigenvalue is no number, or there are too few bands for an edge above.
    """
    bands = np.sort(eigenvalues, axis=2)
    if not (bands.size and np.isfinite(bands).all() and np.isfinite(filled)):
        raise CalculationError("an eigenvalue or the number of electrons is missing: the gap is unknown")
    n_bands = bands.shape[0] * bands.shape[2]
    if filled > n_bands + COUNTED:
        raise CalculationError(f"{n_bands} bands cannot hold the electrons: the gap is unknown")
    if (occupied != occupied[:, :1]).any() or abs(occupied[:, 0].sum() - filled) > COUNTED:
        return {"band_gap": 0.0, "direct": None}
    if (occupied == bands.shape[2]).any():
        raise CalculationError("no empty band was computed, so the gap is unknown; ask for more bands")
    top, bottom = [], []
    for spin, number in zip(bands, occupied[:, 0], strict=True):
        if number:  # an empty spin channel has no top
            top.append(spin[:, number - 1])
        bottom.append(spin[:, number])
    if not top:
        raise CalculationError("no band is occupied: the gap is unknown")
    valence, conduction = np.max(top, axis=0), np.min(bottom, axis=0)
    gap = max(0.0, float(conduction.min() - valence.max()))
    direct = float((conduction - valence).min()) if gap else None
    return {"band_gap": gap, "direct": None if direct is None else direct - gap < 1e-3}


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse settings that converge to something wrong.

    Raises:
        CalculationError: which one, and why.
    """
    if settings["task"] == "relax" and settings["cutoff_ev"] < RELAX_CUTOFF:
        raise CalculationError(
            f"a cell relaxed at PW({settings['cutoff_ev']:g}) is wrong by Pulay stress (at PW(400) MgO "
            f"shrinks from 4.25 to 3.87 Å); PW({RELAX_CUTOFF:g}) is the least"
        )
    if any(n % 2 for n in settings["kpoints"]):
        grid = settings["kpoints"]
        raise CalculationError(
            f"the grid {grid} is odd and can miss a band edge (CsPbI3: 3.44 instead of 1.42 eV)"
        )


def check_energy(start: float, final: float, n_atoms: int) -> None:
    """Refuse a relaxation that went uphill: Pulay stress or a broken run.

    Args:
        start: free energy of the first geometry, eV.
        final: of the last, eV.
        n_atoms: in the cell.

    Raises:
        CalculationError: it ended above its start.
    """
    if final > start + ROSE * n_atoms:
        rise = (final - start) / n_atoms
        raise CalculationError(
            f"the energy rose by {rise:.3f} eV/atom while relaxing: forces and energies contradict each other"
        )


def has_frames(trajectory: Path) -> bool:
    """Whether there is anything in it: killed before its first geometry, a job leaves it empty."""
    return trajectory.is_file() and trajectory.stat().st_size > 0


def start(folder: Path, settings: dict[str, Any]) -> tuple[Atoms, list[Atoms]]:
    """Return the geometry to continue from, and the frames so far."""
    from ase.io import Trajectory, read

    atoms = read(folder / "structure.vasp", format="vasp")
    frames = []
    if settings["task"] == "relax" and has_frames(folder / TRAJECTORY):
        with Trajectory(folder / TRAJECTORY) as trajectory:
            frames = list(trajectory)
    if frames:
        atoms.set_cell(frames[-1].cell, scale_atoms=False)
        atoms.positions[:] = frames[-1].positions
    if settings["magmoms"]:
        atoms.set_initial_magnetic_moments(settings["magmoms"])
    return atoms, frames


def calculator(settings: dict[str, Any], log: Any) -> Any:  # noqa: ANN401 - GPAW's, untyped
    """GPAW, plane waves, Fermi smearing: right for metals, and harmless for insulators at this width."""
    from gpaw import GPAW, PW, FermiDirac

    return GPAW(
        mode=PW(settings["cutoff_ev"]),
        xc="PBE",
        kpts={"size": settings["kpoints"], "gamma": True},
        occupations=FermiDirac(settings["smearing_ev"]),
        setups=settings["setups"],  # +U
        spinpol=bool(settings["magmoms"]),
        nbands=settings["bands"],
        convergence={"bands": settings["converged_bands"]},  # GPAW leaves empty bands unconverged by default
        maxiter=200,
        txt=log,
    )


def relax(atoms: Atoms, frames: list[Atoms], settings: dict[str, Any], folder: Path) -> tuple[bool, int]:
    """Relax cell and positions; whether that converged, and the number of geometries in all."""
    from ase.filters import FrechetCellFilter
    from ase.io import Trajectory
    from ase.optimize import BFGS

    left = settings["max_steps"] - len(frames)
    with Trajectory(folder / TRAJECTORY, "a", atoms) as trajectory:
        optimiser = BFGS(FrechetCellFilter(atoms), logfile=str(folder / "relax.log"))
        optimiser.attach(trajectory)
        converged = bool(optimiser.run(fmax=settings["fmax_ev_per_a"], steps=max(left, 0)))
    with Trajectory(folder / TRAJECTORY) as trajectory:
        first, n_frames = trajectory[0], len(trajectory)
    check_energy(_free(first), _free(atoms), len(atoms))
    return converged, n_frames


def _free(atoms: Atoms) -> float:
    return float(atoms.get_potential_energy(force_consistent=True))


def eigenvalues(calc: Any) -> Any:  # noqa: ANN401 - GPAW's, untyped
    """Spin x irreducible k-point x band, eV."""
    spins, kpoints = range(calc.get_number_of_spins()), range(len(calc.get_ibz_k_points()))
    return np.array([[calc.get_eigenvalues(kpt=k, spin=s) for k in kpoints] for s in spins])


def along_path(atoms: Atoms, settings: dict[str, Any], log: Any) -> Any:  # noqa: ANN401 - a file; an array
    """Eigenvalues along the lattice's path, at the density of the grid."""
    path = atoms.cell.bandpath(density=PATH_DENSITY)
    calc = atoms.calc.fixed_density(
        kpts=path.kpts, symmetry="off", convergence={"bands": settings["converged_bands"]}, txt=log
    )
    return eigenvalues(calc)


def calculate(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Do what ``input.json`` says.

    Raises:
        CalculationError: what makes the outcome useless.
    """
    from ase.io import write
    from gpaw import KohnShamConvergenceError

    check_settings(settings)
    atoms, frames = start(folder, settings)
    result: dict[str, Any] = {"converged": True, "n_geometries": 1}
    with (folder / "gpaw.txt").open("a", encoding="utf-8") as log:
        atoms.calc = calculator(settings, log)
        try:
            if settings["task"] == "relax":
                result["converged"], result["n_geometries"] = relax(atoms, frames, settings, folder)
            energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
            fermi = float(atoms.calc.get_fermi_level())
            bands = eigenvalues(atoms.calc)
            filled = float(atoms.calc.get_number_of_electrons()) / (2 if len(bands) == 1 else 1)
            n_irreducible = bands.shape[1]
            if settings["task"] == "gap":
                bands = np.concatenate([bands, along_path(atoms, settings, log)], axis=1)
        except KohnShamConvergenceError as error:
            raise CalculationError("the self-consistent cycle did not converge in 200 iterations") from error
    if settings["task"] != "relax":
        write(folder / TRAJECTORY, atoms)
    moments = atoms.get_magnetic_moments().tolist() if settings["magmoms"] else None
    return (
        result
        | {
            "energy_ev": float(energy),
            "max_force_ev_per_a": float(np.linalg.norm(forces, axis=1).max()),
            "forces_ev_per_a": forces.tolist(),
            "stress_gpa": (np.asarray(stress) * GPA).tolist(),  # xx, yy, zz, yz, xz, xy
            **band_gap(bands[..., : settings["converged_bands"]], fermi, filled),
            "fermi_ev": fermi,
            "magnetic_moments": moments,
            "total_moment": float(atoms.calc.get_magnetic_moment()) if moments else None,
            "irreducible_kpoints": n_irreducible,
            "symbols": list(atoms.symbols),
            "cell": atoms.cell.tolist(),
            "positions": atoms.positions.tolist(),
        }
    )


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the inputs."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in INPUTS}


def main(folder: Path) -> None:
    """Calculate and write ``result.json``, unless it is there or another process is at it."""
    import gpaw

    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process is at it, and says what comes of it
        if (folder / RESULT).exists():
            return
        settings = json.loads((folder / "input.json").read_text(encoding="utf-8"))
        began = time.monotonic()
        head = {
            "format": 1,
            "code": "gpaw",
            "version": gpaw.__version__,
            "task": settings["task"],
            "inputs": digests(folder),
        }
        try:
            outcome: dict[str, Any] = {"failed": None, **calculate(folder, settings)}
        except CalculationError as error:
            outcome = {"failed": str(error), "converged": False}
        outcome["seconds"] = round(time.monotonic() - began, 1)
        outcome["cpu_seconds"] = round(time.process_time(), 1)  # since the last restart, as the others are
        outcome["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        draft = folder / f".{RESULT}"
        draft.write_text(json.dumps(head | outcome, indent=1) + "\n", encoding="utf-8")
        draft.replace(folder / RESULT)


if __name__ == "__main__":
    main(Path.cwd())
