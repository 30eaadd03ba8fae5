"""CHGNet's network, arranged for evaluation: weights are constants, gradients are by the inputs alone.

This module imports torch: import it late.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, silu

from invdesign.potentials.batching import CrystalBatch

if TYPE_CHECKING:
    from torch import Tensor

_Layers: TypeAlias = Any  # chgnet's modules, untyped

WIDTH = 64  # of every feature
MARGIN = 1e-6  # chgnet's: cosines are shrunk by it, so that arccos has a derivative at straight angles


@dataclass(slots=True)
class Graph:
    """Several crystals as one graph: m pairs, short ones first, s of them in the bond graph."""

    n_crystals: int
    numbers: Tensor  # (atoms,)
    crystal: Tensor  # (atoms,) index of the crystal
    ends: Tensor  # (2 m,) where a directed edge starts; edge k + m is edge k reversed
    other_ends: Tensor  # (2 m,)
    vectors: Tensor  # (m, 3) float64, from first to second
    n_short: int
    angle_atom: Tensor  # (angles,) the atom between the two bonds
    angle_edges: Tensor  # (angles, 2) directed short edges: k < s is pair k, k >= s is pair k - s reversed
    angle_pairs: Tensor  # (angles, 2) their pairs


def build_graph(batch: CrystalBatch, bond_cutoff: float, device: torch.device) -> Graph:
    """Make the graph of some crystals.

    Args:
        batch: the crystals.
        bond_cutoff: of the bond graph, Å.
        device: of the tensors.
    """
    order = np.argsort(batch.distances >= bond_cutoff, kind="stable")
    n_short = int((batch.distances < bond_cutoff).sum())
    first, second = batch.first[order], batch.second[order]
    centre = np.concatenate([first[:n_short], second[:n_short]])
    edges = _edge_pairs(centre)
    arrays = (
        batch.numbers,
        batch.crystal,
        np.concatenate([first, second]),
        np.concatenate([second, first]),
        batch.vectors[order],
        centre[edges[:, 0]],
        edges,
        edges % max(n_short, 1),
    )
    numbers, crystal, ends, other_ends, vectors, *angles = (torch.from_numpy(a).to(device) for a in arrays)
    return Graph(len(batch), numbers, crystal, ends, other_ends, vectors, n_short, *angles)


def _edge_pairs(centre: np.ndarray) -> np.ndarray:
    """List all ordered pairs of different directed edges that leave the same atom, (angles, 2)."""
    order = np.argsort(centre, kind="stable")
    counts = np.bincount(centre) if len(centre) else np.zeros(0, dtype=np.int64)
    starts = np.cumsum(counts) - counts
    degree = counts[centre[order]]  # of each edge's atom, in sorted order
    left = np.repeat(np.arange(len(order)), degree)
    within = np.arange(len(left)) - np.repeat(np.cumsum(degree) - degree, degree)
    right = starts[centre[order][left]] + within
    different = left != right
    return np.stack([order[left[different]], order[right[different]]], axis=1)


@dataclass(frozen=True, slots=True)
class GatedNetwork:
    """One gated network: a core and a gate, each linear, SiLU, linear, layer norm; SiLU(core) sigmoid(gate).

    Attributes:
        bias: of the first layers of core and gate side by side, (128,).
        parts: their weights cut by input, each (128, 64).
        rest: the second layers of core and of gate; none where the network has one layer.
        norms: their layer norms.
    """

    bias: Tensor
    parts: list[Tensor]
    rest: list[nn.Linear]
    norms: tuple[nn.LayerNorm, nn.LayerNorm]

    @classmethod
    def of(cls, network: _Layers) -> GatedNetwork:
        """From chgnet's ``GatedMLP`` with layer norms."""
        first, *rest = zip(_linears(network.mlp_core), _linears(network.mlp_gate), strict=True)
        weight = torch.cat([layer.weight for layer in first])
        parts = [part.contiguous() for part in torch.split(weight, WIDTH, dim=1)]
        bias = torch.cat([layer.bias for layer in first])
        return cls(bias, parts, [layer for pair in rest for layer in pair], (network.bn1, network.bn2))

    def __call__(self, hidden: Tensor) -> Tensor:
        """From the sum of the first layers, (rows, 128), to (rows, 64)."""
        halves: Sequence[Tensor] = hidden.chunk(2, 1)
        if self.rest:
            halves = [layer(half) for layer, half in zip(self.rest, silu(hidden).chunk(2, 1), strict=True)]
        core, gate = (norm(half) for norm, half in zip(self.norms, halves, strict=True))
        result: Tensor = silu(core) * gate.sigmoid()
        return result


class CHGNet:
    """The network: a graph to energies and features."""

    def __init__(self, model: _Layers) -> None:
        """Take the weights of the package's model; its last angle layer feeds nothing."""

        def convolutions(layers: Iterable[_Layers], network: str) -> list[tuple[GatedNetwork, nn.Linear]]:
            return [(GatedNetwork.of(getattr(x, network)), _linears(x.mlp_out)[0]) for x in layers]

        # Basis functions in float64: near the cutoff the envelope is a small difference of large terms,
        # which in float32 makes the forces a hundred times less exact.
        self._radial = model.bond_basis_expansion.double()
        self._angular = model.angle_basis_expansion.fourier_expansion
        self._atoms = model.atom_embedding.embedding.weight  # (94, 64)
        self._bonds, self._angles = model.bond_embedding, model.angle_embedding
        self._weights, self._short_weights = model.bond_weights_ag, model.bond_weights_bg
        self._atom_layers = convolutions(model.atom_conv_layers, "twoBody_atom")
        self._bond_layers = convolutions(model.bond_conv_layers, "twoBody_bond")
        self._angle_layers = [GatedNetwork.of(layer.twoBody_bond) for layer in model.angle_layers[:-1]]
        self._readout = nn.Sequential(model.readout_norm, model.mlp)
        self._reference = model.composition_model.fc.weight[0].double()  # eV, (94,)

    def __call__(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """Energies (n,) eV per cell, float64, and mean atom features (n, 64)."""
        lengths = graph.vectors.norm(dim=1)
        radial = self._radial.rbf_expansion_ag(lengths).to(self._atoms.dtype)
        atoms = self._atoms.index_select(0, graph.numbers - 1)
        weights, bonds = self._weights(radial), self._bonds(radial)
        inner, outer = bonds[: graph.n_short], bonds[graph.n_short :]
        has_angles = len(graph.angle_atom) > 0
        if has_angles:
            angles, angle_weights = self._embed_angles(graph, lengths[: graph.n_short])
        for layer, (gate, out) in enumerate(self._atom_layers):
            message = gate(_on_edges(gate, atoms, torch.cat([inner, outer]), graph))
            message = (message.view(2, -1, WIDTH) * weights).flatten(0, 1)
            atoms = atoms + out(torch.zeros_like(atoms).index_add(0, graph.ends, message))
            if not has_angles or layer == len(self._bond_layers):
                continue
            gate, out = self._bond_layers[layer]  # noqa: PLW2901
            message = gate(_on_angles(gate, atoms, inner, angles, graph)) * angle_weights
            inner = inner + out(torch.zeros_like(inner).index_add(0, graph.angle_pairs[:, 0], message))
            if layer < len(self._angle_layers):
                gate = self._angle_layers[layer]  # noqa: PLW2901
                angles = angles + gate(_on_angles(gate, atoms, inner, angles, graph))
        features = self._readout[0](atoms)
        site = self._readout[1](features)[:, 0].double() + self._reference[graph.numbers - 1]
        n = graph.n_crystals
        energy = site.new_zeros(n).index_add(0, graph.crystal, site)
        feature = features.new_zeros(n, WIDTH).index_add(0, graph.crystal, features)
        return energy, feature / torch.bincount(graph.crystal, minlength=n)[:, None]

    def _embed_angles(self, graph: Graph, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features and weights of the angles, both (angles, 64)."""
        short = self._short_weights(self._radial.rbf_expansion_bg(lengths).to(self._atoms.dtype))
        unit = graph.vectors[: graph.n_short] / lengths[:, None]
        left, right = (torch.cat([unit, -unit]).index_select(0, k) for k in graph.angle_edges.unbind(1))
        theta = ((left * right).sum(1) * (1 - MARGIN)).arccos()
        angles = self._angles(self._angular(theta.to(self._atoms.dtype)))
        one, two = (short.index_select(0, k) for k in graph.angle_pairs.unbind(1))
        return angles, one * two


def _on_edges(gate: GatedNetwork, atoms: Tensor, bonds: Tensor, graph: Graph) -> Tensor:
    """First layers on (centre, bond, neighbour) along both directions of every pair, (2 m, 128)."""
    at_centre, at_bond, at_neighbour = gate.parts
    hidden = linear(atoms, at_centre, gate.bias).index_select(0, graph.ends)
    hidden += linear(atoms, at_neighbour).index_select(0, graph.other_ends)
    hidden.view(2, -1, 2 * WIDTH).add_(linear(bonds, at_bond))
    return hidden


def _on_angles(gate: GatedNetwork, atoms: Tensor, bonds: Tensor, angles: Tensor, graph: Graph) -> Tensor:
    """First layers on (left bond, right bond, angle, atom), (angles, 128)."""
    at_left, at_right, at_angle, at_atom = gate.parts
    hidden = linear(angles, at_angle)
    hidden += linear(bonds, at_left, gate.bias).index_select(0, graph.angle_pairs[:, 0])
    hidden += linear(bonds, at_right).index_select(0, graph.angle_pairs[:, 1])
    hidden += linear(atoms, at_atom).index_select(0, graph.angle_atom)
    return hidden


def _linears(mlp: _Layers) -> list[nn.Linear]:
    return [layer for layer in mlp.layers if isinstance(layer, nn.Linear)]
