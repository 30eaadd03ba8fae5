"""From a potential's total energies to formation energies on the hull's scale, with their uncertainty."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from invdesign.crystal.chemical_formula import formula_of
from invdesign.crystal.elements import SYMBOLS
from invdesign.errors import InputError
from invdesign.io import artifacts
from invdesign.stability.energy_corrections import EnergyScale, fractions

if TYPE_CHECKING:
    from pymatgen.core import Composition

FILE = "calibration.json"
GROWTH_ENDS = 0.5  # eV/atom above the hull; the uncertainty grows no further


@dataclass(frozen=True, slots=True)
class EnergyCalibration:
    """Reference energies of one potential and how accurate its formation energies are.

    Attributes:
        potential: name of the potential.
        references: energies of the elements in the potential, and extra terms.
        hypothetical_offset: eV/atom to add for hypothetical crystals. Universal potentials soften
            the energy surface: they were trained near the minima of known crystals and put all others
            too low.
        spread: eV by element; the standard deviation of a composition on the hull is the mean over its atoms.
        growth: relative growth of the standard deviation per eV/atom of energy above hull.
        digest: hash of the potential's weights, where its name does not say which they are.
        ground_states: eV/atom by element, of the ground state relaxed with the potential. A reported crystal
            of one element is counted from it: the references are fitted to compounds. A hypothetical one is
            counted from the lower of the two, for high polymorphs come out too low already.
    """

    potential: str
    references: EnergyScale
    hypothetical_offset: float
    spread: dict[str, float]
    growth: float
    digest: str = ""
    ground_states: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, name: str | Path = "chgnet-0.3.0") -> EnergyCalibration:
        """Load a calibration: a potential's name, or a folder.

        Raises:
            InputError: the potential has no calibration, or the file is broken.
        """
        folder = artifacts.resolve("validators", name)
        if not folder.is_dir():
            raise InputError(
                f"calibration: potential {str(name)!r} has none; run `invdesign train` on a copy of "
                f"configs/validators/chgnet-0.3.0.yaml with its potential:, then give --calibration FOLDER."
            )
        path = artifacts.find("validators", folder, needs=(FILE,)) / FILE
        try:
            stored = json.loads(path.read_text())
            return cls(
                stored["potential"],
                EnergyScale(stored["references"]),
                stored["hypothetical_offset"],
                stored["spread"],
                stored["growth"],
                stored["digest"],
                stored.get("ground_states", {}),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"calibration: {path} is broken ({error!r}); restore it or rebuild it with `invdesign train`."
            ) from error

    def save(self, folder: Path) -> None:
        """Write ``calibration.json``."""
        content = {
            "potential": self.potential,
            "digest": self.digest,
            "hypothetical_offset": self.hypothetical_offset,
            "growth": self.growth,
            "references": self.references.coefficients,
            "ground_states": self.ground_states,
            "spread": self.spread,
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(content, indent=1) + "\n")

    @property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements that have a reference energy."""
        return frozenset(self.references.coefficients) & frozenset(SYMBOLS)

    def formation_energy(
        self, composition: Composition, energy: float, *, hypothetical: bool = True
    ) -> float:
        """Return the formation energy on the hull's scale, eV/atom.

        Args:
            composition: of the cell, with its amounts of atoms.
            energy: total energy of the cell, eV.
            hypothetical: False for a reported crystal, whose kind the potential was trained on.

        Raises:
            InputError: an element has no reference energy.
        """
        self._check(composition)
        offset = self.hypothetical_offset if hypothetical else 0.0
        reference, parts = self.references.energy(composition), fractions(composition)
        ground = self.ground_states.get(next(iter(parts))) if len(parts) == 1 else None
        if ground is not None:
            reference = min(reference, ground) if hypothetical else ground
        return energy / composition.num_atoms - reference + offset

    def sigma(self, composition: Composition, e_above_hull: float = 0.0) -> float:
        """Return the standard deviation of formation energy and energy above hull, eV/atom.

        Scaled so that ± 1.645 of it holds 90 % of crystals that the potential has not seen.

        Args:
            composition: any amounts.
            e_above_hull: as predicted with ``formation_energy``, eV/atom: the further above the hull, the
                stranger the crystal and the larger the potential's error.

        Raises:
            InputError: an element has no reference energy.
        """
        self._check(composition)
        on_hull = sum(self.spread[symbol] * part for symbol, part in fractions(composition).items())
        return on_hull * (1.0 + self.growth * min(max(e_above_hull, 0.0), GROWTH_ENDS))

    def _check(self, composition: Composition) -> None:
        unknown = sorted(set(fractions(composition)) - self.elements)
        if unknown:
            raise InputError(
                f"composition: {formula_of(composition)}: the calibration of {self.potential} has no "
                f"reference energy of {', '.join(unknown)}; leave these elements out."
            )
