"""The Lennard-Jones potential of the noble gases, for many crystals at once."""

import numpy as np

from invdesign.potentials.batching import BatchedPotential, BatchResult, CrystalBatch

EPSILON, SIGMA = 0.0104, 3.40  # eV and Å, of argon (Rahman, Phys. Rev. 136, A405 (1964))


class LennardJones(BatchedPotential):
    """4 ε ((σ/r)^12 - (σ/r)^6), shifted to 0 at the cutoff."""

    name = "lennard-jones-argon"
    elements = frozenset({"Ar"})
    cutoff = 6 * SIGMA
    max_edges = 2_000_000

    def compute(self, batch: CrystalBatch) -> BatchResult:
        """Sum the pairs' energies and their derivatives by crystal and by atom."""
        r = batch.distances
        at_cutoff = (SIGMA / self.cutoff) ** 6
        x = (SIGMA / r) ** 6
        energy = 4 * EPSILON * (x * (x - 1) - at_cutoff * (at_cutoff - 1))
        gradient = batch.vectors * (-24 * EPSILON * x * (2 * x - 1) / r**2)[:, None]  # dE/d(pair vector)

        crystal = batch.crystal[batch.first]
        forces, virials = np.zeros((len(batch.numbers), 3)), np.zeros((len(batch), 3, 3))
        np.add.at(forces, batch.first, gradient)
        np.add.at(forces, batch.second, -gradient)
        np.add.at(virials, crystal, batch.vectors[:, :, None] * gradient[:, None, :])
        energies = np.bincount(crystal, energy, minlength=len(batch))
        return BatchResult(energies, forces, virials / batch.volumes[:, None, None])
