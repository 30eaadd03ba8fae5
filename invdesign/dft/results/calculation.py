"""A finished calculation, and the settings that decide whether its energy compares with others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invdesign.dft.codes.interface import Code, ParsedOutput
from invdesign.dft.manifest import Job

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True, slots=True)
class Calculation:
    """A finished calculation with an energy.

    Attributes:
        folder: of the calculation.
        job: of the manifest; None for a single run.
        code: that computed it.
        structure: final structure.
        energy: of the cell, eV, on the code's energy scale.
        output: parsed; its settings take precedence over the manifest's. None: as the manifest says.
    """

    folder: Path
    job: Job | None
    code: Code
    structure: Structure
    energy: float
    output: ParsedOutput | None = None

    @property
    def energy_per_atom(self) -> float:
        """Return the energy in eV/atom."""
        return self.energy / len(self.structure)

    @property
    def hubbard_u(self) -> dict[str, float]:
        """Return U (eV) by element."""
        if self.output is not None and self.output.hubbard_u is not None:
            return self.output.hubbard_u
        return dict(self.job.entry.get("hubbard_u", {})) if self.job else {}

    def setting(self, name: str) -> Any:  # noqa: ANN401 - of JSON
        """Return a setting as the output has it, else as it was written."""
        if self.output is not None and name in self.output.settings:
            return self.output.settings[name]
        if self.job is None:
            return None
        return self.job.entry.get(name, self.job.settings.get(name))

    @property
    def scale(self) -> str:
        """Return what the energy scale depends on, except for pseudopotentials; equal strings compare."""
        settings = {name: self.setting(name) for name in ("code", *self.code.decisive_settings)}
        if self.output is not None and self.output.functional:
            settings["functional"] = self.output.functional
        return json.dumps({name: value for name, value in settings.items() if value is not None})

    @property
    def settings(self) -> str:
        """Return the scale with pseudopotentials: runs of one crystal compare where these are equal."""
        return json.dumps(json.loads(self.scale) | {"pseudopotentials": self.pseudopotentials})

    @property
    def pseudopotentials(self) -> dict[str, str]:
        """Return file names by element, where the code has them."""
        return dict(sorted((self.setting("pseudopotentials") or {}).items()))

    @property
    def departure(self) -> str | None:
        """Return why the energy compares with no other: not PBE, or a grid less dense than written.

        Cutoffs may differ from the manifest's where the elements' do too; VASP's elements are given.
        """
        if self.output is None or self.job is None:
            return None
        if not self.code.on_hull_scale and self.output.functional not in {None, "PBE"}:
            return f"computed with {self.output.functional}; the hull is of PBE."
        for name in ("kpoints", "encut_ev"):
            written, found = self.job.entry.get(name), self.output.settings.get(name)
            if None not in (written, found) and written != found:
                return f"its inputs were changed by hand: {name} {found}, not {written}."
        return None
