"""What a gene leaves open: the cell and the free coordinates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Geometry:
    """Continuous part of a crystal, for one gene.

    Attributes:
        lattice: a, b, c (Å), alpha, beta, gamma (degrees) of the conventional standard cell.
        free: per orbit of the gene, in the gene's order, its free fractional coordinates in [0, 1).
    """

    lattice: tuple[float, float, float, float, float, float]
    free: tuple[tuple[float, ...], ...]
