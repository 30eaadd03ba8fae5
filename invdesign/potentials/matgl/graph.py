"""Several crystals as one graph of pairs, for the networks of matgl that are rewritten here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from invdesign.potentials.interface import Frame, Pairs


@dataclass(slots=True)
class PairGraph:
    """Every pair of neighbours once, ``first <= second``, in the order that the network asks for.

    Attributes:
        n_crystals: crystals in the graph.
        types: index of the element in the model, (atoms,).
        crystal: index of the crystal, (atoms,).
        first, second: atom indices, (m,).
        vectors: from ``first`` to ``second``, (m, 3) Å float64; what the energy is derived by.
    """

    n_crystals: int
    types: Tensor
    crystal: Tensor
    first: Tensor
    second: Tensor
    vectors: Tensor


class Network(Protocol):
    """A network of matgl, rewritten to give the same site energies for less."""

    def order(self, first: np.ndarray, second: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """How the pairs are to be sorted, (m,) indices."""
        ...

    def sites(self, graph: PairGraph) -> Tensor:
        """Energies of the atoms in the network's own unit, (atoms,)."""
        ...


def pair_graph(
    frames: Sequence[Frame],
    pairs: Sequence[Pairs],
    types: np.ndarray,
    network: Network,
    device: torch.device,
) -> PairGraph:
    """The graph of several crystals.

    Args:
        frames: the crystals.
        pairs: their neighbour lists.
        types: index of the element in the model, (atoms,).
        network: says how the pairs are sorted.
        device: where the graph goes.
    """
    import torch

    sizes = np.array([len(frame) for frame in frames])
    offsets = np.cumsum(sizes) - sizes
    ends = np.concatenate(
        [np.stack([p.first, p.second]) + o for p, o in zip(pairs, offsets, strict=True)], axis=1
    )
    vectors = np.concatenate([p.vectors for p in pairs])
    vectors = np.where((ends[0] > ends[1])[:, None], -vectors, vectors)
    first, second = np.sort(ends, axis=0)
    order = network.order(first, second, np.concatenate([p.distances for p in pairs]))

    def on_device(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    return PairGraph(
        len(frames),
        on_device(types),
        on_device(np.repeat(np.arange(len(frames)), sizes)),
        on_device(first[order]),
        on_device(second[order]),
        on_device(vectors[order]),
    )


def forces_and_virials(graph: PairGraph, slope: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Forces (atoms, 3), eV/Å, and dE/dstrain (n_crystals, 3, 3), eV, from dE/d(pair vector)."""
    forces = slope.new_zeros(len(graph.types), 3)
    forces.index_add_(0, graph.first, slope).index_add_(0, graph.second, -slope)
    outer = graph.vectors.detach()[:, :, None] * slope[:, None, :]
    virials = slope.new_zeros(graph.n_crystals, 3, 3).index_add_(0, graph.crystal[graph.first], outer)
    return forces.cpu().numpy(), ((virials + virials.mT) / 2).cpu().numpy()
