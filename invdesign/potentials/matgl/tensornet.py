"""TensorNet, rewritten for batches of small crystals: the same function, some twelve times cheaper.

TensorNet (Simeon, De Fabritiis, NeurIPS 2023) keeps a 3x3 tensor per atom and channel and passes messages of
that size along every edge. matgl does so literally; here

- tensors are nine components in an orthonormal basis (1 isotropic, 3 antisymmetric, 5 symmetric traceless),
  so that norms are sums of squares and each kind of component has its linear layer;
- the weight of a message depends on the distance alone, through a network of one variable: it is read
  from a table of splines (``radial_spline``);
- a message is its weight times what the neighbour holds, so the weights are summed over the periodic
  images of a pair of atoms first: 45 pairs of atoms instead of 250 edges in ten-atom crystals;
- the embedding is bilinear in elements and radial functions: moments of the radial functions are summed per
  atom and neighbouring element before they meet the channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from invdesign.potentials.geometry_checks import MIN_DISTANCE
from invdesign.potentials.matgl.graph import PairGraph
from invdesign.potentials.radial_spline import RadialSpline

if TYPE_CHECKING:
    from torch import Tensor

_Layers: TypeAlias = Any  # matgl's modules, untyped

KINDS = (1, 3, 5)  # components: isotropic, antisymmetric, symmetric traceless


class FastTensorNet:
    """A ``matgl.models.TensorNet`` for whole batches; see ``graph.PairNetwork``."""

    @staticmethod
    def supports(model: _Layers) -> bool:
        """Return whether this model is rewritten here."""
        from matgl.layers._embedding import TensorEmbedding  # not the one for NVIDIA's warp
        from matgl.models import TensorNet

        if type(model) is not TensorNet or model.is_intensive:
            return False
        return type(model.tensor_embedding) is TensorEmbedding

    def __init__(self, model: _Layers) -> None:
        """Tabulate what depends on distances alone.

        Args:
            model: a TensorNet with its weights, on its device.
        """
        import torch

        self._model = model
        embedding = model.tensor_embedding
        weight = embedding.emb.weight
        dtype, device, units = weight.dtype, weight.device, model.units
        spline = RadialSpline(lambda r: _radial(model, r), MIN_DISTANCE, float(model.cutoff))
        self._weights = spline.weights
        projections = [embedding.distance_proj1, embedding.distance_proj2, embedding.distance_proj3]
        n = projections[0].in_features + 1
        self._moment_table, *tables = spline.coefficients.to(device).split_with_sizes(
            [n] + [3 * units] * len(model.layers), dim=1
        )
        self._tables = [table.T.to(dtype).contiguous() for table in tables]  # (3 units, rows)
        self._projections = [torch.cat([p.weight.T, p.bias[None]]) for p in projections]  # (n, units)
        of_atom, of_neighbour = embedding.emb2.weight.chunk(2, dim=1)
        self._of_atom = weight @ of_atom.T + embedding.emb2.bias  # (elements, units)
        self._of_neighbour = weight @ of_neighbour.T
        basis = torch.from_numpy(components().reshape(9, 9)).to(device)
        self._symmetric = basis[4:].T  # of a matrix, in float64
        self._basis = basis.to(dtype)

    def order(self, first: np.ndarray, second: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Images of the same two atoms next to each other."""
        del distances
        order: np.ndarray = np.lexsort((second, first))
        return order

    def sites(self, graph: PairGraph) -> Tensor:
        """Compute the energies of the atoms in the model's unit, (atoms,)."""
        import torch

        model = self._model
        lengths = graph.vectors.norm(dim=1)
        rows, weights = self._weights(lengths)
        moments = (self._moment_table[rows] * weights[:, :, None]).sum(1)  # (m, n) float64
        x = self._embedded(graph, graph.vectors / lengths[:, None], moments)
        pairs, image_of = torch.unique_consecutive(
            graph.first * len(graph.types) + graph.second, return_inverse=True
        )
        atoms = torch.stack([pairs // len(graph.types), pairs % len(graph.types)])
        n_rows = len(self._moment_table)
        over_images = weights.new_zeros(len(pairs) * n_rows).index_add(
            0, (image_of[:, None] * n_rows + rows).flatten(), weights.flatten()
        )
        over_images = over_images.to(x.dtype).view(len(pairs), n_rows)
        for layer, table in zip(model.layers, self._tables, strict=True):
            message = torch.nn.functional.linear(over_images, table).chunk(3, dim=1)
            x = self._interaction(layer, x, message, atoms)
        norms = torch.cat([part.sum(0) for part in (x * x).split_with_sizes(KINDS)], dim=1)
        sites: Tensor = model.final_layer(model.linear(model.out_norm(norms)))[:, 0]
        return sites

    def _embedded(self, graph: PairGraph, directions: Tensor, moments: Tensor) -> Tensor:
        """First tensors of the atoms, (9, atoms, units)."""
        import torch

        embedding = self._model.tensor_embedding
        slots = _Slots(graph, len(self._of_atom))
        outer = directions[:, :, None] * directions[:, None, :]
        one, turn = torch.full_like(directions[:, :1], 3**0.5), 2**0.5 * directions
        symmetric = outer.flatten(1) @ self._symmetric
        both_ways = torch.cat([torch.cat([one, v, symmetric], dim=1) for v in (turn, -turn)])  # (2m, 9)
        terms = both_ways.T[:, :, None] * moments.repeat(2, 1)  # (9, 2m, n)
        summed = terms.new_zeros(9, len(slots.atom), terms.shape[2]).index_add(1, slots.of_edges, terms)
        parts = summed.to(self._basis.dtype).split_with_sizes(KINDS)
        elements = self._of_atom[graph.types[slots.atom]] + self._of_neighbour[slots.type]
        radial = torch.cat([p @ q for p, q in zip(parts, self._projections, strict=True)]) * elements
        x = radial.new_zeros(9, len(graph.types), radial.shape[2]).index_add(1, slots.atom, radial)
        scale = embedding.init_norm((x * x).sum(0))
        for layer in embedding.linears_scalar:
            scale = embedding.act(layer(scale))
        return _scaled(_linear(embedding.linears_tensor, x), scale.view(len(scale), -1, 3).unbind(2))

    def _interaction(self, layer: _Layers, x: Tensor, weights: tuple[Tensor, ...], atoms: Tensor) -> Tensor:
        """One layer: messages from the neighbours, multiplied with what the atom holds, (9, atoms, units)."""
        x = x / ((x * x).sum(0) + 1)
        y = _linear(layer.linears_tensor[:3], x)
        message = y.new_zeros(y.shape)
        for here, there in (atoms, atoms.flip(0)):
            message = message.index_add(1, here, _scaled(y.index_select(1, there), weights))
        held, incoming = self._matrices(y), self._matrices(message)
        product = _product(held, incoming)
        both = layer.equivariance_invariance_group == "O(3)"
        product = product + _product(incoming, held) if both else 2 * product
        update = self._components(product, x)
        update = _linear(layer.linears_tensor[3:], update / ((update * update).sum(0) + 1))
        return x + update + self._components(_product(*[self._matrices(update)] * 2), x)

    def _matrices(self, x: Tensor) -> Tensor:
        """From (9, atoms, units) to (3, 3, atoms * units)."""
        return (self._basis.T @ x.flatten(1)).view(3, 3, -1)

    def _components(self, matrices: Tensor, like: Tensor) -> Tensor:
        """From (3, 3, atoms * units) to (9, atoms, units)."""
        return (self._basis @ matrices.flatten(0, 1)).view_as(like)


def components() -> np.ndarray:
    """Orthonormal basis of the 3x3 matrices, ordered by kind, (9, 3, 3)."""
    basis = np.zeros((9, 3, 3))
    basis[0] = np.eye(3) / 3**0.5
    for k, (i, j) in enumerate([(2, 1), (0, 2), (1, 0)], start=1):  # of the cross product with an axis
        basis[k, i, j], basis[k, j, i] = 0.5**0.5, -(0.5**0.5)
    for k, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)], start=4):
        basis[k, i, j] = basis[k, j, i] = 0.5**0.5
    basis[7] = np.diag([1, -1, 0]) / 2**0.5
    basis[8] = np.diag([-1, -1, 2]) / 6**0.5
    return basis


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices (3, 3, n); torch's own batched product of such small ones costs ten times more."""
    product: Tensor = (a[:, :, None] * b[None]).sum(1)
    return product


class _Slots:
    """A place for every atom and every element of its crystal.

    Attributes:
        atom, type: of the places, (places,).
        of_edges: the place of an edge, first all from ``first`` to ``second``, then back, (2m,).
    """

    def __init__(self, graph: PairGraph, n_types: int) -> None:
        import torch

        groups, group = torch.unique(graph.crystal * n_types + graph.types, return_inverse=True)
        per_crystal = torch.bincount(groups // n_types, minlength=graph.n_crystals)
        first_group = (per_crystal.cumsum(0) - per_crystal)[graph.crystal]
        per_atom = per_crystal[graph.crystal]
        shift = per_atom.cumsum(0) - per_atom - first_group  # from an element's group to its place
        self.atom = torch.repeat_interleave(per_atom)
        self.type = groups[torch.arange(len(self.atom), device=group.device) - shift[self.atom]] % n_types
        self.of_edges = torch.cat(
            [shift[graph.first] + group[graph.second], shift[graph.second] + group[graph.first]]
        )


def _radial(model: _Layers, distances: Tensor) -> Tensor:
    """All that depends on the distance alone, in float64, (m, columns).

    First the radial functions and 1, for the embedding; then per layer the weights of a message, by kind.
    """
    import torch
    from matgl.utils.cutoff import cosine_cutoff
    from torch.nn import functional

    weight = model.tensor_embedding.emb.weight
    with torch.no_grad():
        distances = distances.to(weight.device)
        cut = cosine_cutoff(distances, float(model.cutoff))[:, None]
        basis = model.bond_expansion(distances)
        columns = [torch.cat([basis, torch.ones_like(basis[:, :1])], dim=1) * cut]
        for layer in model.layers:
            x = basis
            for step in layer.linears_scalar:
                x = layer.act(functional.linear(x, step.weight.double(), step.bias.double()))
            columns.append((x * cut).view(len(x), -1, 3).mT.flatten(1))
        return torch.cat(columns, dim=1).cpu()


def _linear(layers: _Layers, x: Tensor) -> Tensor:
    """Apply a linear layer to each kind of component, (9, atoms, units)."""
    import torch

    parts = zip(layers, x.split_with_sizes(KINDS), strict=True)
    linear = torch.nn.functional.linear
    return torch.cat([linear(part.flatten(0, 1), layer.weight) for layer, part in parts]).view_as(x)


def _scaled(x: Tensor, factors: tuple[Tensor, ...]) -> Tensor:
    """Multiply each kind of component of (9, rows, units) by a factor (rows, units)."""
    import torch

    return torch.cat([part * factor for part, factor in zip(x.split_with_sizes(KINDS), factors, strict=True)])
