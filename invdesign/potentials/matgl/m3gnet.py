"""M3GNet, rewritten for batches of small crystals: the same function at under half the cost.

M3GNet (Chen, Ong, Nature Computational Science 2022) updates edges from their atoms, and sums over all pairs
of edges of an atom within 4 Å. Differences from matgl's code, none of them in the function computed:

- one gradient, by the pair vectors; directed edges are pairs taken both ways, and what depends on the
  distance alone is computed once for both;
- the sum over pairs of edges, sum_k R(r_ik) P_l(cos jik) g_k, is taken through the addition theorem: products
  of directions are summed over k per atom, then contracted with each edge's direction; so it costs edges
  instead of angles and no list of angles is made;
- the first layer of each gated network acts on atoms before they are gathered on edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from invdesign.potentials.matgl.graph import PairGraph
from invdesign.potentials.matgl.tensornet import components

if TYPE_CHECKING:
    from torch import Tensor

_Layers: TypeAlias = Any  # matgl's modules, untyped

MAX_L = 3  # directions are expanded up to l = 2


class FastM3GNet:
    """A ``matgl.models.M3GNet`` for whole batches; see ``graph.PairNetwork``."""

    @staticmethod
    def supports(model: _Layers) -> bool:
        """Return whether this model is rewritten here."""
        from matgl.models import M3GNet

        if type(model) is not M3GNet or model.is_intensive or model.include_state:
            return False
        return model.max_l <= MAX_L and not model.basis_expansion.use_phi

    def __init__(self, model: _Layers) -> None:
        """Rearrange the weights.

        Args:
            model: an M3GNet with its weights, on its device.
        """
        import torch

        self._model = model
        weight = model.embedding.layer_node_embedding.weight
        size = weight.shape[1]
        self._symmetric = torch.from_numpy(components()[4:].reshape(5, 9).T).to(weight)
        orders = torch.arange(model.max_l, device=weight.device)
        self._norms = (((2 * orders + 1) / (4 * pi)) ** 0.5).repeat_interleave(model.max_n).to(weight)
        columns = torch.arange(model.max_l * model.max_n, device=weight.device)
        self._columns = columns.repeat_interleave((2 * orders + 1).repeat_interleave(model.max_n))
        radial_layers = [
            layer
            for block in model.graph_layers
            for layer in (block.conv.edge_weight_func, block.conv.node_weight_func)
        ]
        self._of_radial = torch.cat([layer.weight for layer in radial_layers]).T.contiguous()
        self._gated = [
            (_Gated(block.conv.edge_update_func, size), _Gated(block.conv.node_update_func, size))
            for block in model.graph_layers
        ]

    def order(self, first: np.ndarray, second: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Pairs inside the three-body cutoff first."""
        del first, second
        return np.argsort(distances > self._model.threebody_cutoff, kind="stable")

    def sites(self, graph: PairGraph) -> Tensor:
        """Compute the energies of the atoms in the model's unit, (atoms,)."""
        import torch

        model = self._model
        vectors = graph.vectors.to(self._norms.dtype)
        lengths = vectors.norm(dim=1)
        radial = model.bond_expansion(lengths)
        atoms = model.embedding.layer_node_embedding(graph.types)
        edges = model.embedding.layer_edge_embedding(radial).expand(2, -1, -1)  # both ways of every pair
        three = self._three_body(graph, vectors, lengths)
        sizes = [edges.shape[2], atoms.shape[1]] * model.n_blocks
        weights = iter((radial @ self._of_radial).split_with_sizes(sizes, dim=1))
        for angular, (edge_network, node_network) in zip(
            model.three_body_interactions, self._gated, strict=True
        ):
            if three is not None:
                inner, outer = edges.split_with_sizes([three.n, len(lengths) - three.n], dim=1)
                update = angular.update_network_bond(three.sums(angular.update_network_atom(atoms)))
                edges = torch.cat([inner + update.view_as(inner), outer], dim=1)
            edges = edges + edge_network(atoms, edges, graph) * next(weights)
            messages = node_network(atoms, edges, graph) * next(weights)
            there = torch.zeros_like(atoms).index_add(0, graph.first, messages[0])
            atoms = atoms + there.index_add(0, graph.second, messages[1])
        sites: Tensor = model.final_layer(atoms)[:, 0]
        return sites

    def _three_body(self, graph: PairGraph, vectors: Tensor, lengths: Tensor) -> _ThreeBody | None:
        """Prepare what the sums over pairs of edges share between layers; None without short pairs."""
        import torch
        from matgl.utils.cutoff import polynomial_cutoff

        model = self._model
        n = int((lengths.detach() <= model.threebody_cutoff).sum())
        if n == 0:
            return None
        vectors, lengths = vectors[:n], lengths[:n]
        unit = vectors / lengths[:, None]
        cut = polynomial_cutoff(lengths, model.threebody_cutoff)[:, None]
        radial = model.basis_expansion.sbf(lengths) * cut * self._norms
        squares = (unit[:, :, None] * unit[:, None, :]).flatten(1) @ self._symmetric * 1.5**0.5
        one = torch.ones_like(cut)
        harmonics = [(one, one), (unit, -unit), (squares, squares)][: model.max_l]  # there and back
        directions = torch.cat([torch.cat(both).repeat(1, model.max_n) for both in harmonics], dim=1)
        first, second = graph.first[:n], graph.second[:n]
        return _ThreeBody(
            torch.cat([first, second]),
            torch.cat([second, first]),
            radial.repeat(2, 1),
            directions,
            cut.repeat(2, 1),
            self._columns,
        )


@dataclass(slots=True)
class _ThreeBody:
    """The directed edges of the n short pairs.

    A column is an order l and a radial function; a term is a column and one of its 2 l + 1 directions.
    """

    source: Tensor  # (2n,)
    target: Tensor  # (2n,)
    radial: Tensor  # (2n, columns) with cutoff and norm
    directions: Tensor  # (2n, terms)
    cut: Tensor  # (2n, 1)
    columns: Tensor  # (terms,) the column of a term

    @property
    def n(self) -> int:
        """Short pairs."""
        return len(self.source) // 2

    def sums(self, gates: Tensor) -> Tensor:
        """Sum over the other edges of the same source, (2n, columns).

        Args:
            gates: of the atoms, (atoms, columns).
        """
        weights = self.radial * gates.index_select(0, self.target)
        terms = weights.index_select(1, self.columns) * self.directions
        moments = terms.new_zeros(len(gates), len(self.columns)).index_add(0, self.source, terms)
        contracted = moments.index_select(0, self.source) * self.directions
        others = (-weights).index_add(1, self.columns, contracted)  # all of them less the edge itself
        return others * self.cut


class _Gated:
    """matgl's ``GatedMLP`` on (atom, neighbour, edge) of both ways of every pair."""

    def __init__(self, network: _Layers, size: int) -> None:
        """Split the first layers by their inputs.

        Args:
            network: the ``GatedMLP``.
            size: of an atom's features.
        """
        from torch.nn import Linear

        self._branches = []
        for branch in (network.layers, network.gates):
            first, *rest = (layer for layer in branch if isinstance(layer, Linear))
            sizes = [size, size, first.in_features - 2 * size]
            self._branches.append(
                (
                    first.bias,
                    [part.contiguous() for part in first.weight.split_with_sizes(sizes, dim=1)],
                    rest,
                )
            )

    def __call__(self, atoms: Tensor, edges: Tensor, graph: PairGraph) -> Tensor:
        """From atoms (atoms, d) and edges (2, m, e) to (2, m, outputs)."""
        import torch
        from torch.nn.functional import linear, silu

        source, target = torch.cat([graph.first, graph.second]), torch.cat([graph.second, graph.first])
        flat = edges.flatten(0, 1)
        outputs = []
        for bias, (atom, neighbour, edge), rest in self._branches:
            of_atom, of_neighbour = linear(atoms, atom, bias), linear(atoms, neighbour)
            hidden = linear(flat, edge)
            hidden.add_(of_atom.index_select(0, source)).add_(of_neighbour.index_select(0, target))
            for layer in rest:
                hidden = linear(silu(hidden), layer.weight, layer.bias)
            outputs.append(hidden)
        value, gate = outputs
        gated: Tensor = silu(value) * gate.sigmoid()
        return gated.view(2, len(graph.first), -1)
