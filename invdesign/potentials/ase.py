"""Any ASE calculator as a potential, one crystal after the other: ASE has no batches."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from invdesign.errors import InputError
from invdesign.potentials.batching import check_overlap
from invdesign.potentials.geometry_checks import geometry_faults
from invdesign.potentials.interface import LAST_ATOMIC_NUMBER, Frame, PotentialOutput, as_frames

if TYPE_CHECKING:
    from pymatgen.core import Structure

_Calculator: TypeAlias = Any  # ASE's, typed in part

NEEDED = ("energy", "forces", "stress")


class AsePotential:
    """An ASE calculator with energies, forces and stresses.

    A calculator does not list its elements, so ``elements`` are all of them; where the calculator raises an
    exception, of whatever kind, that crystal fails.

    Example:
        >>> from ase.calculators.emt import EMT
        >>> AsePotential("emt", EMT()).evaluate([structure]).energy  # doctest: +SKIP
        array([-0.0057])
    """

    def __init__(self, name: str, calculator: _Calculator) -> None:
        """Wrap a calculator.

        Args:
            name: its name in reports and calibrations.
            calculator: a ready ASE calculator.

        Raises:
            InputError: it is no ASE calculator, or one without energies, forces and stresses.
        """
        from ase.calculators.abc import GetPropertiesMixin
        from pymatgen.core import Element

        if not isinstance(calculator, GetPropertiesMixin):
            raise InputError(
                f"potential {name!r} is a {type(calculator).__name__}; give what makes an ASE calculator."
            )
        if missing := [p for p in NEEDED if p not in calculator.implemented_properties]:
            raise InputError(
                f"potential {name!r} gives no {' or '.join(missing)}; give a calculator that has all three."
            )
        self.name, self.digest = name, ""
        self.elements = frozenset(Element.from_Z(z).symbol for z in range(1, LAST_ATOMIC_NUMBER + 1))
        self._calculator = calculator

    def evaluate(self, crystals: Sequence[Structure | Frame]) -> PotentialOutput:
        """Evaluate energies (eV), forces (eV/Å) and stresses (eV/Å³); failures are named by index."""
        failures: dict[int, str] = {}
        frames = as_frames(crystals, failures)
        result = PotentialOutput.empty(frames)
        result.failures = geometry_faults(frames) | failures
        for index, frame in enumerate(frames):
            if index in result.failures:
                continue
            try:
                check_overlap(frame)
            except ValueError as error:
                result.failures[index] = str(error)
                continue
            self._evaluate(index, frame, result)
        return result

    def _evaluate(self, index: int, frame: Frame, result: PotentialOutput) -> None:
        from ase import Atoms

        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True, calculator=self._calculator)
        try:
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
            stress = atoms.get_stress(voigt=False)
        except Exception as error:  # noqa: BLE001 - a foreign program may raise anything for a bad crystal
            result.failures[index] = f"{self.name} failed: {_first_line(error)}"
            return
        result.store(index, self.name, energy, forces, stress)


def load_ase(name: str) -> AsePotential:
    """Wrap the calculator that ``ase:MODULE:CALLABLE`` makes; see ``registry.load_potential``.

    Raises:
        InputError: another form of name, no such module or callable, a callable that fails without
            arguments, or what it returns is no ASE calculator with energies, forces and stresses.
    """
    _, _, place = name.partition(":")
    module_name, _, attribute = place.partition(":")
    if not module_name or not attribute:
        raise InputError(
            f"potential {name!r} is not of the form ase:MODULE:CALLABLE, as in ase:ase.calculators.emt:EMT."
        )
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"potential {name!r}: module {module_name} cannot be imported ({error}); install or correct it."
        ) from error
    make = getattr(module, attribute, None)
    if not callable(make):
        raise InputError(
            f"potential {name!r}: module {module_name} has no callable {attribute}; correct the name."
        )
    try:
        calculator = make()
    except Exception as error:  # a foreign program may raise anything
        reason = _first_line(error)
        raise InputError(
            f"potential {name!r}: {attribute}() fails ({reason}); give a callable that needs no arguments."
        ) from error
    return AsePotential(name, calculator)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
