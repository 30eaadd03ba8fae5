"""CHGNet's network, arranged for evaluation: weights are constants, gradients are by the inputs alone.

Its gated networks (a core and a gate, each linear, SiLU, linear, layer norm; then SiLU(core) · sigmoid(gate))
run on every directed edge and every angle and take nine tenths of the time. Here they have their backward
pass by hand: the centring of the layer norms is folded into the weights before them, the derivatives are
formed in the forward pass from what is in the cache then, and matrix products go to oneDNN (14 to 16 % less
time with AVX-512, none with AVX2). This module imports torch: import it late.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear

from invdesign.potentials.batching import CrystalBatch

if TYPE_CHECKING:
    from torch import Tensor

_Layers: TypeAlias = Any  # chgnet's modules, untyped
_Context: TypeAlias = Any  # torch's

WIDTH = 64  # of every feature
MARGIN = 1e-6  # chgnet's: cosines are shrunk by it, so that arccos has a derivative at straight angles
# oneDNN multiplies at 230 GFLOP/s a core on an AMD EPYC, MKL at 105; but it makes a kernel for every new
# number of rows, 1 ms each, so edges and angles come in multiples of this and everything else goes to MKL.
ROWS = 128


@dataclass(slots=True)
class Graph:
    """Several crystals as one graph: m pairs, short ones first, s of them in the bond graph.

    Pairs at the cutoff (from atom 0 to itself) fill m up to a multiple of ``ROWS``, and angles between them
    the angles; they contribute nothing.
    """

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


def build_graph(batch: CrystalBatch, bond_cutoff: float, cutoff: float, device: torch.device) -> Graph:
    """Make the graph of some crystals.

    Args:
        batch: the crystals.
        bond_cutoff: of the bond graph, Å.
        cutoff: of the neighbour list, Å.
        device: of the tensors.
    """
    short = batch.distances < bond_cutoff
    n_pads, n_real = -len(short) % ROWS or ROWS, int(short.sum())
    at, rest = np.flatnonzero(short), np.flatnonzero(~short)

    def padded(array: np.ndarray, pad: np.ndarray) -> np.ndarray:
        return np.concatenate([array[at], pad, array[rest]])

    edges = _edge_pairs(np.concatenate([batch.first[at], batch.second[at]]))
    edges += n_pads * (edges >= n_real)
    edges = np.concatenate([edges, np.full((-len(edges) % ROWS, 2), n_real)])
    first, second = (padded(ends, np.zeros(n_pads, dtype=np.int64)) for ends in (batch.first, batch.second))
    n_short = n_real + n_pads
    centre = np.concatenate([first[:n_short], second[:n_short]])[edges[:, 0]]
    arrays = (
        batch.numbers,
        batch.crystal,
        np.concatenate([first, second]),
        np.concatenate([second, first]),
        padded(batch.vectors, np.full((n_pads, 3), [cutoff, 0.0, 0.0])),
        centre,
        edges,
        edges % n_short,
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
class Affine:
    """A linear layer.

    Attributes:
        weight: (outputs, inputs).
        transposed: its transpose, contiguous.
        bias: (outputs,), or None.
    """

    weight: Tensor
    transposed: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None = None) -> Affine:
        """From weights (outputs, inputs)."""
        return cls(weight.contiguous(), weight.T.contiguous(), bias)

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, inputs) to (n, outputs)."""
        result: Tensor = _Product.apply(rows, self)  # type: ignore[no-untyped-call]
        return result


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context: _Context, rows: Tensor, layer: Affine) -> Tensor:
        context.layer = layer
        return _product(rows, layer.weight, layer.bias)

    @staticmethod
    def backward(context: _Context, *gradients: Tensor) -> tuple[Tensor, None]:
        return _product(gradients[0], context.layer.transposed), None


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``rows @ weight.T + bias``."""
    if len(rows) % ROWS or rows.dtype != torch.float32 or rows.device.type != "cpu" or not _ONEDNN:
        return linear(rows, weight, bias)
    result: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")  # noqa: SLF001
    return result


_ONEDNN: bool = hasattr(torch.ops.mkldnn, "_linear_pointwise")


@dataclass(frozen=True, slots=True)
class Gate:
    """One gated network.

    Attributes:
        parts: the first layers of core and gate side by side, cut by input, each (64,) to (128,); the biases
            are with the first part.
        second: the second layers of core and of gate; none where the network has one layer.
        scale, shift: of the two layer norms, (2, 64).
        epsilon: of the layer norms.
    """

    parts: list[Affine]
    second: list[Affine]
    scale: Tensor
    shift: Tensor
    epsilon: float

    @classmethod
    def of(cls, network: _Layers) -> Gate:
        """From chgnet's ``GatedMLP`` with layer norms."""
        layers = [_linears(network.mlp_core), _linears(network.mlp_gate)]
        # what a layer norm would centre is centred by the weights
        *first, last = zip(*layers, strict=True)
        centred = [(x.weight - x.weight.mean(0), x.bias - x.bias.mean()) for x in last]
        second = [Affine.of(*layer) for layer in centred] if first else []
        both = [(x.weight, x.bias) for x in first[0]] if first else centred
        columns = torch.split(torch.cat([weight for weight, _ in both]), WIDTH, dim=1)
        parts = [Affine.of(columns[0], torch.cat([bias for _, bias in both])), *map(Affine.of, columns[1:])]
        norms = (network.bn1, network.bn2)
        scale, shift = torch.stack([n.weight for n in norms]), torch.stack([n.bias for n in norms])
        return cls(parts, second, scale, shift, network.bn1.eps)

    def __call__(self, hidden: Tensor) -> Tensor:
        """From the sum of the first layers, (rows, 128), which is overwritten, to (rows, 64)."""
        result: Tensor = _Gated.apply(hidden, self)  # type: ignore[no-untyped-call]
        return result


class _Gated(torch.autograd.Function):
    """What follows the first layers of a gated network; the context holds the derivatives, used up once."""

    @staticmethod
    def forward(context: _Context, hidden: Tensor, gate: Gate) -> Tensor:
        differentiable, one = context.needs_input_grad[0], hidden.new_ones(())
        halves, by_hidden = list(hidden.chunk(2, 1)), None
        if gate.second:
            share = hidden.sigmoid()
            hidden.mul_(share)  # SiLU
            if differentiable:
                by_hidden = torch.lerp(hidden, one, share)  # SiLU' = SiLU + (1 - SiLU) sigmoid
            halves = [_product(h, x.weight, x.bias) for h, x in zip(halves, gate.second, strict=True)]
        inverse = [(torch.linalg.vecdot(h, h) / WIDTH + gate.epsilon).rsqrt_()[:, None] for h in halves]
        core, opening = (
            torch.addcmul(shift, h.mul_(i), scale)
            for h, i, scale, shift in zip(halves, inverse, gate.scale, gate.shift, strict=True)
        )
        opening.sigmoid_()
        share = core.sigmoid()
        core.mul_(share)
        gated = core * opening
        if differentiable:
            by_core = torch.lerp(core, one, share).mul_(opening).mul_(gate.scale[0])
            by_gate = torch.addcmul(gated, gated, opening, value=-1).mul_(gate.scale[1])
            context.gate, context.by_hidden = gate, by_hidden
            context.norms = list(zip(halves, inverse, (by_core, by_gate), strict=True))
        return gated

    @staticmethod
    def backward(context: _Context, *gradients: Tensor) -> tuple[Tensor, None]:
        halves = []
        for normed, inverse, by_norm in context.norms:
            gradient = by_norm.mul_(gradients[0])
            along = torch.linalg.vecdot(gradient, normed)[:, None] / -WIDTH
            halves.append(gradient.addcmul_(normed, along).mul_(inverse))
        if not context.gate.second:
            return torch.cat(halves, 1), None
        result: Tensor = context.by_hidden
        for half, gradient, layer in zip(result.chunk(2, 1), halves, context.gate.second, strict=True):
            half.mul_(_product(gradient, layer.transposed))
        return result, None


class CHGNet:
    """The network: a graph to energies and features."""

    def __init__(self, model: _Layers) -> None:
        """Take the weights of the package's model; its last angle layer feeds nothing."""

        def convolutions(layers: Iterable[_Layers], network: str) -> list[tuple[Gate, Affine]]:
            return [(Gate.of(getattr(x, network)), Affine.of(_linears(x.mlp_out)[0].weight)) for x in layers]

        # Basis functions in float64: near the cutoff the envelope is a small difference of large terms,
        # which in float32 makes the forces a hundred times less exact.
        self._radial = model.bond_basis_expansion.double()
        self._angular = model.angle_basis_expansion.fourier_expansion
        self._atoms = model.atom_embedding.embedding.weight  # (94, 64)
        self._bonds = Affine.of(model.bond_embedding.weight)
        self._angles = Affine.of(model.angle_embedding.weight)
        self._weights = Affine.of(model.bond_weights_ag.weight)
        self._short_weights = Affine.of(model.bond_weights_bg.weight)
        self._atom_layers = convolutions(model.atom_conv_layers, "twoBody_atom")
        self._bond_layers = convolutions(model.bond_conv_layers, "twoBody_bond")
        self._angle_layers = [Gate.of(layer.twoBody_bond) for layer in model.angle_layers[:-1]]
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


def _on_edges(gate: Gate, atoms: Tensor, bonds: Tensor, graph: Graph) -> Tensor:
    """First layers on (centre, bond, neighbour) along both directions of every pair, (2 m, 128)."""
    at_centre, at_bond, at_neighbour = gate.parts
    hidden = at_centre(atoms).index_select(0, graph.ends)
    hidden += at_neighbour(atoms).index_select(0, graph.other_ends)
    hidden.view(2, -1, 2 * WIDTH).add_(at_bond(bonds))
    return hidden


def _on_angles(gate: Gate, atoms: Tensor, bonds: Tensor, angles: Tensor, graph: Graph) -> Tensor:
    """First layers on (left bond, right bond, angle, atom), (angles, 128)."""
    at_left, at_right, at_angle, at_atom = gate.parts
    hidden = at_angle(angles)
    hidden += at_left(bonds).index_select(0, graph.angle_pairs[:, 0])
    hidden += at_right(bonds).index_select(0, graph.angle_pairs[:, 1])
    hidden += at_atom(atoms).index_select(0, graph.angle_atom)
    return hidden


def _linears(mlp: _Layers) -> list[nn.Linear]:
    return [layer for layer in mlp.layers if isinstance(layer, nn.Linear)]
