"""Several crystals as one graph of pairs, for the networks of matgl that are rewritten here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from invdesign.potentials.batching import CrystalBatch

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(slots=True)
class PairGraph:
    """Every pair of neighbours once, ``first <= second``, in the order that the network requires.

    Attributes:
        n_crystals: crystals in the graph.
        types: index of the element in the model, (atoms,).
        crystal: index of the crystal, (atoms,).
        first, second: atom indices, (m,).
        vectors: from ``first`` to ``second``, (m, 3) Å float64; forces are the energy's gradient by them.
    """

    n_crystals: int
    types: Tensor
    crystal: Tensor
    first: Tensor
    second: Tensor
    vectors: Tensor


class PairNetwork(Protocol):
    """A network of matgl, rewritten to give the same site energies at a lower cost."""

    def order(self, first: np.ndarray, second: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Return the order of the pairs, (m,) indices."""
        ...

    def sites(self, graph: PairGraph) -> Tensor:
        """Compute the atoms' energies in the model's unit, (atoms,)."""
        ...


def pair_graph(
    batch: CrystalBatch, types: np.ndarray, network: PairNetwork, device: torch.device
) -> PairGraph:
    """Make the graph of several crystals.

    Args:
        batch: the crystals with their neighbour lists.
        types: index of the element in the model, (atoms,).
        network: determines the order of the pairs.
        device: of the tensors.
    """
    import torch

    reverse = batch.first > batch.second
    vectors = np.where(reverse[:, None], -batch.vectors, batch.vectors)
    first, second = np.sort([batch.first, batch.second], axis=0)
    order = network.order(first, second, batch.distances)
    arrays = (types, batch.crystal, first[order], second[order], vectors[order])
    return PairGraph(len(batch), *(torch.from_numpy(array).to(device) for array in arrays))
