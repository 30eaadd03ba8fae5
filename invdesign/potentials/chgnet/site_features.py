"""CHGNet's features atom by atom: what the mean that other parts take is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from invdesign.potentials.chgnet.potential import EMBEDDING_SIZE, CHGNetPotential
from invdesign.potentials.interface import Frame, Pairs, as_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure


class CHGNetSites(CHGNetPotential):
    """CHGNet 0.3.0 that also gives each atom's features."""

    def embed_sites(
        self, crystals: Sequence[Structure | Frame]
    ) -> tuple[np.ndarray, list[np.ndarray], dict[int, str]]:
        """Energies, and features of every atom, whose mean is the crystal's.

        Returns:
            Energies (n,) eV per cell, one (n_atoms, 64) float32 array a crystal, nan where it failed, and
            failures by index.
        """
        import torch

        failures: dict[int, str] = {}
        frames = as_frames(crystals, failures)
        energies = np.full(len(frames), np.nan)
        found = [np.full((len(frame), EMBEDDING_SIZE), np.nan, dtype=np.float32) for frame in frames]

        def compute(members: list[int], pairs: list[Pairs]) -> None:
            graph = self._graph(members, [frames[k] for k in members], pairs)
            n_atoms = len(graph.numbers)
            # as if each atom were a crystal: the network then averages over nothing
            single = replace(
                graph,
                members=list(range(n_atoms)),
                crystal=torch.arange(n_atoms, device=graph.crystal.device),
            )
            with torch.no_grad():
                by_atom, features = self._network(single)
            ends = np.cumsum([len(frames[k]) for k in members])[:-1]
            rows = np.split(features.cpu().numpy(), ends), np.split(by_atom.cpu().numpy(), ends)
            for k, own, energy in zip(members, *rows, strict=True):
                found[k], energies[k] = own, energy.sum()

        self._passes.run(frames, compute, failures)
        return energies, found, failures
