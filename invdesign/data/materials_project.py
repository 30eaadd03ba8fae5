"""The Materials Project's crystals as ``mp_structures.npz`` stores them: flat arrays, one row a crystal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.core.properties import PBE_GAP
from invdesign.data.dataset import Entry

if TYPE_CHECKING:
    from pymatgen.core import Structure

LATER = "later"
"""Column: 1 where a gap is of the later Materials Project, which is on another scale, else 0."""
LATER_VOLUME = 0.988
"""Median volume of the stored cells, two thirds of them of later relaxations, over that of mp20's cells."""


@dataclass(frozen=True, slots=True)
class MaterialsProject:
    """Crystals and their columns.

    Attributes:
        columns: arrays of the file by name, (n,) for one value a crystal.
        ends: (n,) where the sites of each end in ``atomic_number`` and ``fractional``.
    """

    columns: Mapping[str, np.ndarray]
    ends: np.ndarray

    @classmethod
    def read(cls, path: Path) -> MaterialsProject:
        """Read the file."""
        with np.load(path, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in stored.files}
        return cls(columns, np.cumsum(columns["n_sites"], dtype=int))

    def structure(self, row: int) -> Structure:
        """Return a row's crystal, in the stored cell."""
        from pymatgen.core import Element, Lattice, Structure

        sites = slice(self.ends[row] - self.columns["n_sites"][row], self.ends[row])
        lattice = Lattice.from_parameters(*self.columns["cell"][row].astype(float))
        elements = [Element.from_Z(z) for z in self.columns["atomic_number"][sites].tolist()]
        return Structure(lattice, elements, self.columns["fractional"][sites] / 65_536)

    def gaps(self) -> tuple[np.ndarray, np.ndarray]:
        """PBE gaps to learn from, eV (n,), and whether each is of the later scale, (n,).

        The gap of 2018 where there is one; nan where there is none, where the two disagree on whether the
        crystal is a metal, and for crystals that only serve to tell what is known.
        """
        first, later = self.columns["band_gap"], self.columns["band_gap_later"]
        gap = np.where(np.isnan(first), later, first).astype(float)
        gap[((first == 0) & (later > 0)) | self.columns["identity_only"]] = np.nan
        return gap, np.isnan(first) & ~np.isnan(gap)

    def with_gaps(
        self, most_sites: int, left_out: Collection[str], cells: Mapping[str, Structure]
    ) -> Iterator[Entry]:
        """Yield the crystals with a gap to learn from, in order.

        Args:
            most_sites: of a crystal.
            left_out: ids, such as ``mp-149``, of crystals that another file has.
            cells: crystals in PBE's cell by id. Other cells are scaled to PBE's volumes in the median.
        """
        gap, later = self.gaps()
        chosen = np.flatnonzero(~np.isnan(gap) & (self.columns["n_sites"] <= most_sites))
        for row in chosen.tolist():
            label = f"mp-{self.columns['material_id'][row]}"
            if label in left_out:
                continue
            structure = cells.get(label)
            if structure is None:
                structure = self.structure(row)
                structure.scale_lattice(structure.volume / LATER_VOLUME)
            yield Entry(label, structure, {PBE_GAP: float(gap[row]), LATER: float(later[row])})
