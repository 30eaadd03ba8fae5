"""CHGNet 0.3.0, batched: the potential that needs no download.

The weights are those of the ``chgnet`` wheel (Deng et al., Nature Machine Intelligence 2023; BSD-3). The
forward pass is rewritten here from its layers, because the package's own costs 69 ms per step of a
ten-atom crystal: it builds the graph in Python, and asks for forces and stress in two backward passes with
``create_graph``. What differs, none of it in the function computed:

- pairs come from vesin and are stored as halves: directed edge k and k + m are each other's reverse;
- one gradient, by the pair vectors, gives forces and stress;
- the first layer of each message network acts on atoms and bonds before they are gathered on edges;
- bonds beyond the 3 Å of the bond graph never change after the embedding, so they are left out of it;
- the last angle update feeds nothing, so it is left out.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from invdesign.validators.potential import (
    Evaluation,
    Frame,
    Pairs,
    as_frames,
    micro_batches,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymatgen.core import Structure
    from torch import Tensor, nn

_Layers: TypeAlias = Any  # chgnet's own modules, untyped

EMBEDDING_SIZE = 64
LAST_ATOMIC_NUMBER = 94
# Directed edges per micro-batch. On a CPU a few crystals at a time stay in the cache; a GPU wants many.
EDGES_PER_PASS = {"cpu": 6_000, "cuda": 600_000}


@dataclass(slots=True)
class _Graph:
    """Several crystals as one graph; m pairs (short ones first), s of them inside the bond graph."""

    members: list[int]  # which crystals of the batch
    numbers: Tensor  # (atoms,)
    crystal: Tensor  # (atoms,) index of the crystal
    first: Tensor  # (m,)
    second: Tensor  # (m,)
    vectors: Tensor  # (m, 3) from first to second
    n_short: int
    angle_atom: Tensor  # (angles,) the atom between the two bonds
    angle_edges: Tensor  # (angles, 2) directed short edges: k < s is pair k, k >= s is pair k - s reversed
    angle_pairs: Tensor  # (angles, 2) their pairs


class CHGNetPotential:
    """CHGNet 0.3.0 for batches; the device is the GPU where there is one.

    Example:
        >>> CHGNetPotential().evaluate([structure]).energy  # doctest: +SKIP
        array([-11.97])
    """

    name = "chgnet-0.3.0"

    def __init__(self, device: str | None = None) -> None:
        """Load the weights of the installed ``chgnet`` wheel.

        Args:
            device: torch device; None takes the GPU where there is one.
        """
        import torch
        from pymatgen.core import Element

        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            from chgnet.model.model import CHGNet

            device = device or ("cuda" if torch.cuda.is_available() else "cpu")
            model = CHGNet.load(use_device=device, verbose=False)
        self.device = torch.device(device)
        self.elements = frozenset(Element.from_Z(z).symbol for z in range(1, LAST_ATOMIC_NUMBER + 1))
        self._model = model.eval().requires_grad_(requires_grad=False)
        self._cutoff: float = model.graph_converter.atom_graph_cutoff
        self._short: float = model.graph_converter.bond_graph_cutoff

    def evaluate(self, crystals: Sequence[Structure | Frame]) -> Evaluation:
        """Energies (eV), forces (eV/Å) and stresses (eV/Å³); failures are named by index."""
        import torch

        frames = as_frames(crystals)
        result = Evaluation.empty(frames)
        for graph in self._graphs(frames, result.failures):
            graph.vectors.requires_grad_()
            energy, _ = _forward(self._model, graph)
            (slope,) = torch.autograd.grad(energy.sum(), graph.vectors)
            _fill(result, frames, graph, energy, slope)
        return result

    def embed(self, crystals: Sequence[Structure | Frame]) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """Energies and crystal features, without gradients.

        Returns:
            energies (n,) eV per cell, features (n, 64) float32 (the mean of the atoms' last features), and
            failures by index; rows that failed are nan.
        """
        import torch

        frames = as_frames(crystals)
        energies = np.full(len(frames), np.nan)
        features = np.full((len(frames), EMBEDDING_SIZE), np.nan, dtype=np.float32)
        failures: dict[int, str] = {}
        for graph in self._graphs(frames, failures):
            with torch.no_grad():
                energy, feature = _forward(self._model, graph)
            energies[graph.members] = energy.cpu().double().numpy()
            features[graph.members] = feature.cpu().numpy()
        return energies, features, failures

    def _graphs(self, frames: list[Frame], failures: dict[int, str]) -> Iterator[_Graph]:
        """The batch in graphs that fit the device; fills in ``failures``."""
        limit = EDGES_PER_PASS[self.device.type]
        for members, pairs in micro_batches(self, frames, self._cutoff, limit, failures):
            yield self._graph(members, [frames[k] for k in members], pairs)

    def _graph(self, members: list[int], frames: list[Frame], pairs: list[Pairs]) -> _Graph:
        import torch

        sizes = np.array([len(frame) for frame in frames])
        offsets = np.cumsum(sizes) - sizes
        first = np.concatenate([p.first + o for p, o in zip(pairs, offsets, strict=True)])
        second = np.concatenate([p.second + o for p, o in zip(pairs, offsets, strict=True)])
        vectors = np.concatenate([p.vectors for p in pairs])
        short = np.concatenate([p.distances for p in pairs]) < self._short
        order = np.argsort(~short, kind="stable")
        first, second, vectors = first[order], second[order], vectors[order]
        n_short = int(short.sum())
        edges = _edge_pairs(np.concatenate([first[:n_short], second[:n_short]]))
        centre = np.concatenate([first[:n_short], second[:n_short]])[edges[:, 0]]

        def index(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(self.device)

        return _Graph(
            members,
            index(np.concatenate([frame.numbers for frame in frames])),
            index(np.repeat(np.arange(len(frames)), sizes)),
            index(first),
            index(second),
            index(vectors.astype(np.float32)),
            n_short,
            index(centre),
            index(edges),
            index(edges % max(n_short, 1)),
        )


def _fill(result: Evaluation, frames: list[Frame], graph: _Graph, energy: Tensor, slope: Tensor) -> None:
    """Turn dE/d(pair vector) into forces and stress and store everything (sums in float64)."""
    slope = slope.double()
    forces = slope.new_zeros(len(graph.numbers), 3)
    forces.index_add_(0, graph.first, slope).index_add_(0, graph.second, -slope)
    virial = slope.new_zeros(len(graph.members), 3, 3)
    outer = graph.vectors.detach().double()[:, :, None] * slope[:, None, :]
    virials = virial.index_add_(0, graph.crystal[graph.first], outer).cpu().numpy()
    energies = energy.detach().cpu().numpy()
    by_crystal = np.split(forces.cpu().numpy(), np.cumsum([len(frames[k]) for k in graph.members]))
    for row, k in enumerate(graph.members):
        own = by_crystal[row]
        if not (np.isfinite(energies[row]) and np.isfinite(own).all()):
            result.failures[k] = f"{CHGNetPotential.name} returned an energy or force that is not finite"
            continue
        result.energy[k] = energies[row]
        result.forces[k] = own
        result.stress[k] = (virials[row] + virials[row].T) / (2 * frames[k].volume)


def _edge_pairs(centre: np.ndarray) -> np.ndarray:
    """All ordered pairs of different directed edges that leave the same atom, (angles, 2)."""
    order = np.argsort(centre, kind="stable")
    counts = np.bincount(centre) if len(centre) else np.zeros(0, dtype=np.int64)
    starts = np.cumsum(counts) - counts
    degree = counts[centre[order]]  # of each edge's atom, in sorted order
    left = np.repeat(np.arange(len(order)), degree)
    within = np.arange(len(left)) - np.repeat(np.cumsum(degree) - degree, degree)
    right = starts[centre[order][left]] + within
    different = left != right
    return np.stack([order[left[different]], order[right[different]]], axis=1)


def _forward(model: _Layers, graph: _Graph) -> tuple[Tensor, Tensor]:
    """Energies (n,) eV per cell and mean atom features (n, 64)."""
    import torch

    lengths = graph.vectors.norm(dim=1)
    radial = model.bond_basis_expansion.rbf_expansion_ag(lengths)
    atoms = model.atom_embedding.embedding(graph.numbers - 1)
    bonds = model.bond_embedding(radial)
    weights = model.bond_weights_ag(radial)
    short = model.bond_weights_bg(model.bond_basis_expansion.rbf_expansion_bg(lengths[: graph.n_short]))
    left, right = graph.angle_edges.unbind(1)
    pair_left, pair_right = graph.angle_pairs.unbind(1)
    has_angles = len(left) > 0
    if has_angles:
        unit = graph.vectors[: graph.n_short] / lengths[: graph.n_short, None]
        unit = torch.cat([unit, -unit])
        pair_of_units = unit.index_select(0, left), unit.index_select(0, right)
        angles = model.angle_embedding(model.angle_basis_expansion(*pair_of_units))
        angle_weights = short.index_select(0, pair_left) * short.index_select(0, pair_right)
    last = model.n_conv - 1
    for layer in range(last):
        atoms = _atom_conv(model.atom_conv_layers[layer], atoms, bonds, weights, graph)
        if not has_angles:
            continue
        inner, outer = bonds[: graph.n_short], bonds[graph.n_short :]
        convolution = model.bond_conv_layers[layer]
        message = _gated_on_angles(convolution.twoBody_bond, atoms, inner, angles, graph)
        summed = torch.zeros_like(inner).index_add(0, pair_left, message * angle_weights)
        inner = inner + convolution.mlp_out(summed)
        bonds = torch.cat([inner, outer])
        if layer < last - 1:
            network = model.angle_layers[layer].twoBody_bond
            angles = angles + _gated_on_angles(network, atoms, inner, angles, graph)
    atoms = _atom_conv(model.atom_conv_layers[last], atoms, bonds, weights, graph)
    atoms = model.readout_norm(atoms)
    counts = torch.bincount(graph.crystal, minlength=len(graph.members))
    reference = model.composition_model.fc.weight[0, graph.numbers - 1].double()
    site = model.mlp(atoms)[:, 0].double() + reference
    energy = site.new_zeros(len(graph.members)).index_add(0, graph.crystal, site)
    feature = atoms.new_zeros(len(graph.members), atoms.shape[1]).index_add(0, graph.crystal, atoms)
    return energy, feature / counts[:, None]


def _atom_conv(layer: _Layers, atoms: Tensor, bonds: Tensor, weights: Tensor, graph: _Graph) -> Tensor:
    """Messages along both directions of every pair, summed on the atoms, (atoms, 64)."""
    import torch

    weight, bias = _first_layers(layer.twoBody_atom)
    at_centre, at_bond, at_neighbour = weight.chunk(3, dim=1)
    centre = torch.addmm(bias, atoms, at_centre.T)  # (atoms, 128)
    neighbour = atoms @ at_neighbour.T
    bond = bonds @ at_bond.T
    one, two = graph.first, graph.second
    hidden = torch.cat(
        [
            centre.index_select(0, one) + bond + neighbour.index_select(0, two),
            centre.index_select(0, two) + bond + neighbour.index_select(0, one),
        ]
    )
    message = _gate(layer.twoBody_atom, hidden).view(2, -1, 64) * weights
    summed = torch.zeros_like(atoms).index_add(0, torch.cat([one, two]), message.flatten(0, 1))
    updated: Tensor = layer.mlp_out(summed) + atoms
    return updated


def _gated_on_angles(network: _Layers, atoms: Tensor, bonds: Tensor, angles: Tensor, graph: _Graph) -> Tensor:
    """A gated network on (left bond, right bond, angle, atom), (angles, 64)."""
    import torch

    weight, bias = _first_layers(network)
    at_left, at_right, at_angle, at_atom = weight.chunk(4, dim=1)
    hidden = torch.addmm(bias, angles, at_angle.T)
    hidden = hidden + (bonds @ at_left.T).index_select(0, graph.angle_pairs[:, 0])
    hidden = hidden + (bonds @ at_right.T).index_select(0, graph.angle_pairs[:, 1])
    hidden = hidden + (atoms @ at_atom.T).index_select(0, graph.angle_atom)
    return _gate(network, hidden)


def _first_layers(network: _Layers) -> tuple[Tensor, Tensor]:
    """Weights (128, inputs) and biases (128,) of the first linear layers of core and gate."""
    import torch

    core, gate = _linears(network.mlp_core)[0], _linears(network.mlp_gate)[0]
    return torch.cat([core.weight, gate.weight]), torch.cat([core.bias, gate.bias])


def _gate(network: _Layers, hidden: Tensor) -> Tensor:
    """What follows the first linear layers of a gated network: (rows, 128) to (rows, 64)."""
    from torch.nn.functional import silu

    rest_core, rest_gate = _linears(network.mlp_core)[1:], _linears(network.mlp_gate)[1:]
    if rest_core:
        core, gate = silu(hidden).chunk(2, dim=1)
        core, gate = rest_core[0](core), rest_gate[0](gate)
    else:
        core, gate = hidden.chunk(2, dim=1)
    gated: Tensor = silu(network.bn1(core)) * network.bn2(gate).sigmoid()
    return gated


def _linears(mlp: _Layers) -> list[nn.Linear]:
    from torch.nn import Linear

    return [layer for layer in mlp.layers if isinstance(layer, Linear)]
