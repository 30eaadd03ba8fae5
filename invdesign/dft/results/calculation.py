"""A finished calculation, and the settings by which its energy compares with others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure

    from invdesign.dft.codes.interface import Code, ParsedOutput
    from invdesign.dft.manifest import Job


@dataclass(frozen=True, slots=True)
class Computed:
    """A finished calculation with an energy.

    Attributes:
        folder: where it lies.
        job: of the manifest; None for a single run.
        code: that computed it.
        structure: the last one.
        energy: of that cell, eV, on the code's own scale.
        reading: its output, which decides what it was computed with; None: as the manifest says.
    """

    folder: Path
    job: Job | None
    code: Code
    structure: Structure
    energy: float
    reading: ParsedOutput | None = None

    @property
    def per_atom(self) -> float:
        """eV/atom."""
        return self.energy / len(self.structure)

    @property
    def hubbard_u(self) -> dict[str, float]:
        """U by element."""
        if self.reading is not None and self.reading.hubbard_u is not None:
            return self.reading.hubbard_u
        return dict(self.job.entry.get("hubbard_u", {})) if self.job else {}

    def said(self, name: str) -> Any:  # noqa: ANN401 - of JSON
        """A setting: as the output says, else as it was written."""
        if self.reading is not None and name in self.reading.settings:
            return self.reading.settings[name]
        if self.job is None:
            return None
        return self.job.entry.get(name, self.job.settings.get(name))

    @property
    def scale(self) -> str:
        """What its energy compares by, but for pseudopotentials; equal strings, equal scales."""
        settings = {name: self.said(name) for name in ("code", *self.code.decisive_settings)}
        if self.reading is not None and self.reading.functional:
            settings["functional"] = self.reading.functional
        return json.dumps({name: value for name, value in settings.items() if value is not None})

    @property
    def settings(self) -> str:
        """The same with pseudopotentials: runs of one crystal compare where these are equal."""
        return json.dumps(json.loads(self.scale) | {"pseudopotentials": self.pseudopotentials})

    @property
    def pseudopotentials(self) -> dict[str, str]:
        """Files by element, where the code has them."""
        return dict(sorted((self.said("pseudopotentials") or {}).items()))

    @property
    def departure(self) -> str | None:
        """Why its energy compares with none here, as a sentence: not PBE, or less dense than written.

        Cutoffs may be other ones where the elements have them too; VASP's elements are given.
        """
        if self.reading is None or self.job is None:
            return None
        if not self.code.on_hull_scale and self.reading.functional not in {
            None,
            "PBE",
        }:
            return f"computed with {self.reading.functional}; the hull is of PBE."
        for name in ("kpoints", "encut_ev"):
            written, found = self.job.entry.get(name), self.reading.settings.get(name)
            if None not in (written, found) and written != found:
                return f"its inputs were changed by hand: {name} {found}, not {written}."
        return None
