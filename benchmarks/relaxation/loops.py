"""The other sides: one crystal at a time with ASE and the backend's own calculator; torch-sim 0.3."""

from __future__ import annotations

import contextlib
import io
import logging
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from invdesign.potentials.interface import Frame
from invdesign.relaxation.crystal_relaxation import VOLUME_RATIO
from invdesign.relaxation.relax import Relaxed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from invdesign.potentials.interface import Potential


class Timed:
    """A backend's own ASE calculator, and the seconds spent inside it."""

    def __init__(self, name: str) -> None:
        """Load.

        Args:
            name: ``chgnet`` or a matgl folder.
        """
        self.calculator = _calculator(name)
        self.seconds, self.calls = 0.0, 0
        calculate = self.calculator.calculate

        def timed(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - passed on as they are
            start = time.perf_counter()
            calculate(*arguments, **named)
            self.seconds += time.perf_counter() - start
            self.calls += 1

        self.calculator.calculate = timed


def _calculator(name: str) -> Any:  # noqa: ANN401 - ASE is untyped
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if name == "chgnet":
        with contextlib.redirect_stdout(io.StringIO()):
            from chgnet.model import CHGNetCalculator

            return CHGNetCalculator()
    from matgl.ext.ase import PESCalculator
    from matgl.utils.io import load_model

    return PESCalculator(load_model(name), stress_unit="eV/A3")


def ase_relax(structure: Structure, timed: Timed, *, fmax: float, max_steps: int) -> Relaxed:
    """Run the usual loop, ``FIRE(FrechetCellFilter(atoms)).run(fmax)``; what it raises is its failure.

    It is stopped where ours is, when the volume has left a quarter to four times its start: CHGNet's own
    graphs of a collapsing cell took 20 GB.
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = structure.to_ase_atoms()
    atoms.calc = timed.calculator
    optimiser = FIRE(FrechetCellFilter(atoms), logfile=None)
    energy, converged, reason = np.nan, False, ""

    def check_volume() -> None:
        if not VOLUME_RATIO[0] <= atoms.get_volume() / structure.volume <= VOLUME_RATIO[1]:
            raise ArithmeticError("the cell collapsed or exploded")

    optimiser.attach(check_volume)
    try:
        converged = bool(optimiser.run(fmax=fmax, steps=max_steps))
        energy = float(atoms.get_potential_energy())
    except Exception as error:  # noqa: BLE001 - CHGNet raises on isolated atoms, SciPy on absurd cells
        reason = f"{type(error).__name__}: {error}"
    end = AseAtomsAdaptor.get_structure(atoms, cls=type(structure))
    return Relaxed(end, energy, np.nan, optimiser.nsteps, converged, reason)


def ase_fmax(start: Structure, end: Structure, forces: np.ndarray, stress: np.ndarray) -> float:
    """Return what ``FrechetCellFilter``, begun at ``start``, would compare with fmax at ``end``, eV/Å."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.filters import FrechetCellFilter

    atoms = start.to_ase_atoms()
    cell_filter = FrechetCellFilter(atoms)
    atoms.set_cell(end.lattice.matrix)
    atoms.set_positions(end.cart_coords)
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=forces, stress=stress)
    return float(np.linalg.norm(cell_filter.get_forces(), axis=1).max())


def torch_sim_relax(
    structures: Sequence[Structure], potential: Potential, *, fmax: float, max_steps: int
) -> tuple[list[Relaxed], int]:
    """torch-sim's batched FIRE with Fréchet cell filter and in-flight batching, on our evaluations.

    ``n_steps`` of each is unknown to torch-sim, and 0 here.

    Returns:
        The ends, and the number of evaluations of a crystal that it took.

    Raises:
        ImportError: torch-sim is not installed.
    """
    import torch
    import torch_sim
    from torch_sim.models.interface import ModelInterface

    class Wrapped(ModelInterface):  # type: ignore[misc]
        """Our potential as a torch-sim model; cells are column vectors there."""

        def __init__(self) -> None:
            super().__init__()
            self._device, self._dtype = torch.device("cpu"), torch.float64
            self._compute_forces = self._compute_stress = True
            self.evaluations = 0

        def forward(self, state: Any, **_: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401 - torch-sim's
            sizes = torch.bincount(state.system_idx).tolist()
            numbers, positions = state.atomic_numbers.split(sizes), state.positions.split(sizes)
            frames = [
                Frame(z.numpy(), x.detach().numpy(), cell.detach().numpy().T.copy())
                for z, x, cell in zip(numbers, positions, state.cell, strict=True)
            ]
            self.evaluations += len(frames)
            found = potential.evaluate(frames)
            return {
                "energy": torch.from_numpy(found.energy),
                "forces": torch.from_numpy(np.concatenate(found.forces)),
                "stress": torch.from_numpy(found.stress),
            }

    model = Wrapped()
    done = torch_sim.generate_force_convergence_fn(fmax, include_cell_forces=True)
    state = torch_sim.optimize(
        list(structures),
        model,
        optimizer=torch_sim.frechet_cell_fire,
        convergence_fn=done,
        autobatcher=torch_sim.InFlightAutoBatcher(
            model, memory_scales_with="n_atoms", max_memory_scaler=10_000
        ),
        max_steps=max_steps,
    )
    ends = zip(state.to_structures(), state.energy.tolist(), done(state).tolist(), strict=True)
    return [Relaxed(s, energy, np.nan, 0, ok, "") for s, energy, ok in ends], model.evaluations
