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

    def scaled(self, factor: float) -> Geometry:
        """Return the same shape at ``factor`` times the volume."""
        a, b, c, *angles = self.lattice
        edge = factor ** (1 / 3)
        return Geometry((a * edge, b * edge, c * edge, angles[0], angles[1], angles[2]), self.free)
