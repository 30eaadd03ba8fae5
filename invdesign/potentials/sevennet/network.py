"""SevenNet's network, rewritten for batches of small crystals on few cores.

The network is NequIP's (Batzner and others, Nat. Commun. 13, 2453, 2022). Four things make it cheaper than
e3nn's modules, and change no number:

* what depends on a distance alone, the weights of the tensor products, is read off splines;
* the couplings to a pair's direction (spherical harmonics, Wigner 3j symbols) are made once for all layers;
* the messages to an atom are summed by the matrix product that makes them, over groups of its neighbours;
* the backward pass of a convolution is written by hand, without a copy of what it can make again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from invdesign.potentials.radial_spline import RadialSpline

if TYPE_CHECKING:
    from torch import Tensor

    from invdesign.potentials.batching import CrystalBatch

_Module: TypeAlias = Any  # of sevenn and e3nn, untyped
_Context: TypeAlias = Any  # of torch.autograd
Degrees: TypeAlias = tuple[int, int, int]  # of the features, of the pair's harmonics, of the product
Features: TypeAlias = "dict[int, Tensor]"  # by degree l: (atoms, 2l + 1, channels)

NEIGHBOURS = 8  # of one atom in one matrix product; the last group of an atom is filled up with nothing
BLOCK = {"cpu": 96, "cuda": 1 << 20}  # groups at once
SHORTEST = 0.5  # Å, where the splines begin


@dataclass(slots=True)
class NeighbourGroups:
    """The neighbours of each atom in groups of ``NEIGHBOURS``, both directions of every pair.

    Attributes:
        atom: that each group belongs to, (groups,).
        neighbour: atom at each place, (places,); places = groups x NEIGHBOURS.
        pair: index of the pair at each place, (places,).
        direction: 1 where the pair starts at the group's atom, -1 where it ends there, 0 at empty places.
    """

    atom: Tensor
    neighbour: Tensor
    pair: Tensor
    direction: Tensor


def neighbour_groups(batch: CrystalBatch, device: torch.device) -> NeighbourGroups:
    """Sort the directed pairs of a batch by the atom that they start at, and fill up the groups."""
    n_atoms, n_pairs = len(batch.numbers), len(batch.first)
    centre = np.concatenate([batch.first, batch.second])
    order = np.argsort(centre, kind="stable")
    count = np.bincount(centre, minlength=n_atoms)
    n_groups = -(-count // NEIGHBOURS)
    skipped = (np.cumsum(n_groups) - n_groups) * NEIGHBOURS - (np.cumsum(count) - count)
    place = np.arange(2 * n_pairs) + skipped[centre[order]]
    neighbour, pair, direction = (np.zeros(n_groups.sum() * NEIGHBOURS, dtype=np.int64) for _ in range(3))
    neighbour[place] = np.concatenate([batch.second, batch.first])[order]
    pair[place] = order % n_pairs
    direction[place] = np.where(order < n_pairs, 1, -1)
    atom = np.repeat(np.arange(n_atoms), n_groups)
    return NeighbourGroups(*(torch.from_numpy(a).to(device) for a in (atom, neighbour, pair, direction)))


class SevenNet:
    """Site energies of a loaded SevenNet, from its weights."""

    def __init__(self, model: _Module, cutoff: float) -> None:
        """Take the weights of sevenn's model (on the CPU, float32).

        Args:
            model: an ``AtomGraphSequential``.
            cutoff: Å.
        """
        self.device = torch.device("cpu")
        modules = dict(model.named_children())
        edges = modules["edge_embedding"]
        self._harmonics = edges.spherical.sph
        self.n_scalars = modules["reduce_input_to_hidden"].linear.irreps_in.dim
        self._species = _by_degree(modules["onehot_to_feature_x"].linear)[0]
        layers = range(sum(name.endswith("_convolution") for name in modules))
        self._layers = [_Layer(modules, t) for t in layers]
        self._symbols = _symbols(self._layers)
        breaks = [edges.cutoff_function.r_on] if hasattr(edges.cutoff_function, "r_on") else []
        model.double()  # splines are fitted in double precision
        self._radial = [
            _PiecewiseSpline(
                partial(_radial_weights, edges, modules[f"{t}_convolution"].weight_nn),
                [SHORTEST, *breaks, cutoff],
            )
            for t in layers
        ]
        model.float()
        self._readout = (
            _by_degree(modules["reduce_input_to_hidden"].linear)[0]
            @ (_by_degree(modules["reduce_hidden_to_energy"].linear)[0])
        )
        rescale = modules["rescale_atomic_energy"]
        n_species = len(self._species)
        self._scale = rescale.scale.detach().double().expand(n_species).clone()
        self._shift = rescale.shift.detach().double().expand(n_species).clone()

    def to(self, device: torch.device) -> None:
        """Move the weights."""
        self.device = device
        self._species, self._readout = self._species.to(device), self._readout.to(device)
        self._scale, self._shift = self._scale.to(device), self._shift.to(device)
        self._symbols = {path: symbols.to(device) for path, symbols in self._symbols.items()}
        for layer in self._layers:
            layer.to(device)
        for radial in self._radial:
            radial.to(device)

    def sites(self, species: Tensor, groups: NeighbourGroups, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the atoms' energies.

        Args:
            species: index of the element in the model, (atoms,).
            groups: neighbours.
            vectors: of the pairs, (m, 3) Å float64; forces are the energy's gradient by them.

        Returns:
            Energies (atoms,) eV float64, and the last scalar features (atoms, channels) float32.
        """
        couplings = self._couplings(groups, vectors)
        rows, shares = self._radial[0].places(vectors.norm(dim=1))  # the layers' splines have the same knots
        rows, shares = rows[groups.pair], (shares[groups.pair] * (groups.direction != 0)[:, None]).float()
        x: Features = {0: self._species[species][:, None, :]}
        for layer, radial in zip(self._layers, self._radial, strict=True):
            x = layer(x, radial(rows, shares), couplings, groups)
        scalars = x[0][:, 0]
        energies = (scalars @ self._readout)[:, 0].double()
        return energies * self._scale[species] + self._shift[species], scalars

    def _couplings(self, groups: NeighbourGroups, vectors: Tensor) -> dict[Degrees, Tensor]:
        """Couple the directions to features, (groups, 2 l_out + 1, NEIGHBOURS (2 l_in + 1)) by path."""
        harmonics = self._harmonics(vectors.float())[groups.pair]
        reverse = groups.direction.to(harmonics.dtype)[:, None]
        found = {}
        for (l_in, l_pair, l_out), symbols in self._symbols.items():
            y = harmonics[:, l_pair**2 : (l_pair + 1) ** 2]
            coupled = (y * reverse if l_pair % 2 else y) @ symbols
            shape = (len(groups.atom), NEIGHBOURS, 2 * l_out + 1, 2 * l_in + 1)
            found[l_in, l_pair, l_out] = coupled.view(shape).transpose(1, 2).flatten(2)
        return found


class _Layer:
    """One interaction: convolution over neighbours, linear maps, gate."""

    def __init__(self, modules: dict[str, _Module], t: int) -> None:
        self._skip = _by_degree(modules[f"{t}_self_connection_intro"].linear)
        self._before = _by_degree(modules[f"{t}_self_interaction_1"].linear)
        self._after = _by_degree(modules[f"{t}_self_interaction_2"].linear)
        convolution = modules[f"{t}_convolution"]
        product = convolution.convolution
        self.paths = [
            _Path(
                product.irreps_in1[one.i_in1].ir.l,
                product.irreps_in2[one.i_in2].ir.l,
                product.irreps_out[one.i_out].ir.l,
                product.irreps_in1[one.i_in1].mul,
                float(one.path_weight / convolution.denominator),
                one.i_out,
            )
            for one in product.instructions
        ]
        gate = modules[f"{t}_equivariant_gate"].gate
        self._n_scalars = gate.irreps_scalars.dim
        self._gated = [(irrep.ir.l, irrep.mul) for irrep in gate.irreps_gated]
        self._activation = gate.act_scalars.acts[0]
        self._gate_activation = gate.act_gates.acts[0] if self._gated else self._activation

    def to(self, device: torch.device) -> None:
        for matrices in (self._skip, self._before, self._after):
            matrices.update({degree: matrix.to(device) for degree, matrix in matrices.items()})

    def __call__(
        self, x: Features, weights: Tensor, couplings: dict[Degrees, Tensor], groups: NeighbourGroups
    ) -> Features:
        """Pass messages along all pairs and update the features."""
        degrees = sorted(x)
        sources = [x[degree] @ self._before[degree] for degree in degrees]
        factors = [couplings[path.degrees] * path.factor for path in self.paths]
        sums = _Convolution.apply(self.paths, degrees, groups, weights, *sources, *factors)  # type: ignore[no-untyped-call]
        y = {}
        for degree, total in zip(sorted({path.l_out for path in self.paths}), sums, strict=True):
            y[degree] = total @ self._after[degree]
            if degree in x and degree in self._skip:
                y[degree] = y[degree] + x[degree] @ self._skip[degree]
        scalars, *gates = y[0][:, 0].split([self._n_scalars, *(n for _, n in self._gated)], dim=1)
        gated = {
            degree: y[degree] * self._gate_activation(gate)[:, None]
            for (degree, _), gate in zip(self._gated, gates, strict=True)
        }
        return {0: self._activation(scalars)[:, None], **gated}


@dataclass(frozen=True, slots=True)
class _Path:
    """One coupling of a tensor product: degrees, channels, and its place in the output."""

    l_in: int
    l_pair: int
    l_out: int
    channels: int
    factor: float
    place: int

    @property
    def degrees(self) -> Degrees:
        return self.l_in, self.l_pair, self.l_out


class _Convolution(torch.autograd.Function):
    """Sum over the neighbours of each atom of weight x (features of the neighbour, coupled to the direction).

    What is large, features at every place and their products with the weights, is made again on the way back.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        paths: Sequence[_Path],
        degrees: Sequence[int],
        groups: NeighbourGroups,
        weights: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        sources, couplings = tensors[: len(degrees)], tensors[len(degrees) :]
        ctx.paths, ctx.degrees, ctx.groups = paths, degrees, groups
        ctx.save_for_backward(weights, *tensors)
        ranges = _ranges(paths)
        n_atoms = len(sources[0])
        sums = {
            degree: sources[0].new_zeros(
                n_atoms, 2 * degree + 1, max(stop for _, stop in ranges[degree].values())
            )
            for degree in sorted(ranges)
        }
        for block, places in _blocks(groups):
            at_places = {
                degree: x[groups.neighbour[places]] for degree, x in zip(degrees, sources, strict=True)
            }
            split = torch.split(weights[places], [path.channels for path in paths], dim=1)
            totals = {
                degree: x.new_empty(len(groups.atom[block]), *x.shape[1:]) for degree, x in sums.items()
            }
            for path, weight, coupling in zip(paths, split, couplings, strict=True):
                message = _weighted(at_places[path.l_in], weight)
                first, last = ranges[path.l_out][path.place]
                totals[path.l_out][:, :, first:last] = coupling[block] @ message
            for degree, total in totals.items():
                sums[degree].index_add_(0, groups.atom[block], total)
        return tuple(sums.values())

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        paths, degrees, groups = ctx.paths, ctx.degrees, ctx.groups
        weights, *tensors = ctx.saved_tensors
        sources, couplings = tensors[: len(degrees)], tensors[len(degrees) :]
        ranges = _ranges(paths)
        by_weight = torch.empty_like(weights)
        by_source = [torch.zeros_like(x) for x in sources]
        by_coupling = [torch.empty_like(coupling) for coupling in couplings]
        widths = [path.channels for path in paths]
        for block, places in _blocks(groups):
            neighbour = groups.neighbour[places]
            at_places = {degree: x[neighbour] for degree, x in zip(degrees, sources, strict=True)}
            by_place = {degree: torch.zeros_like(x) for degree, x in at_places.items()}
            by_sum = dict(zip(sorted(ranges), (g[groups.atom[block]] for g in gradients), strict=True))
            split, by_split = (torch.split(rows[places], widths, dim=1) for rows in (weights, by_weight))
            for path, weight, by, coupling, by_c in zip(
                paths, split, by_split, couplings, by_coupling, strict=True
            ):
                x = at_places[path.l_in]
                first, last = ranges[path.l_out][path.place]
                gradient = by_sum[path.l_out][:, :, first:last]
                by_message = (coupling[block].mT @ gradient).view(x.shape)
                torch.matmul(gradient, _weighted(x, weight).mT, out=by_c[block])
                by_place[path.l_in].addcmul_(by_message, weight[:, None])
                torch.sum(by_message.mul_(x), dim=1, out=by)
            for total, by_l in zip(by_source, by_place.values(), strict=True):
                total.index_add_(0, neighbour, by_l)
        return (None, None, None, by_weight, *by_source, *by_coupling)


def _blocks(groups: NeighbourGroups) -> Iterator[tuple[slice, slice]]:
    """Cut groups, and their places, into blocks that stay in a core's cache."""
    size = BLOCK[groups.atom.device.type]
    for first in range(0, len(groups.atom), size):
        last = min(first + size, len(groups.atom))
        yield slice(first, last), slice(first * NEIGHBOURS, last * NEIGHBOURS)


def _weighted(x: Tensor, weight: Tensor) -> Tensor:
    """Features times weights, (groups, NEIGHBOURS (2l + 1), channels)."""
    return (x * weight[:, None]).view(len(x) // NEIGHBOURS, -1, x.shape[2])


def _ranges(paths: Sequence[_Path]) -> dict[int, dict[int, tuple[int, int]]]:
    """First and last channel of each path's output, by degree and place."""
    found: dict[int, dict[int, tuple[int, int]]] = {}
    for path in sorted(paths, key=lambda path: path.place):
        ranges = found.setdefault(path.l_out, {})
        first = max((last for _, last in ranges.values()), default=0)
        ranges[path.place] = first, first + path.channels
    return found


class _PiecewiseSpline:
    """Weights of a layer's tensor products by distance, with a break where the cutoff function has one."""

    def __init__(self, functions: Callable[[Tensor], Tensor], ends: Sequence[float]) -> None:
        self._splines = [RadialSpline(functions, a, b) for a, b in itertools.pairwise(ends)]
        self._table = torch.cat([spline.coefficients for spline in self._splines]).float()
        self._breaks = ends[1:-1]

    def to(self, device: torch.device) -> None:
        self._table = self._table.to(device)

    def places(self, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the table and their weights, both (m, 6)."""
        rows, weights = self._splines[0].weights(distances)
        skipped = 0
        for end, before, spline in zip(self._breaks, self._splines, self._splines[1:], strict=False):
            skipped += len(before.coefficients)
            further = (distances >= end)[:, None]
            later_rows, later_weights = spline.weights(distances)
            rows = torch.where(further, later_rows + skipped, rows)
            weights = torch.where(further, later_weights, weights)
        return rows, weights

    def __call__(self, rows: Tensor, weights: Tensor) -> Tensor:
        """Return the functions, (m, n_functions) float32, from rows and weights of :meth:`places`."""
        return torch.nn.functional.embedding_bag(rows, self._table, mode="sum", per_sample_weights=weights)


def _radial_weights(edges: _Module, network: _Module, distances: Tensor) -> Tensor:
    """Weights of a layer's tensor products, (m, paths x channels), of distances (m,) Å."""
    cutoff = edges.cutoff_function(distances)[:, None]
    weights: Tensor = network(edges.basis_function(distances) * cutoff)
    return weights.detach()


def _by_degree(linear: _Module) -> dict[int, Tensor]:
    """Matrices (channels in, channels out) of an e3nn linear map, by degree."""
    with torch.no_grad():
        whole = linear(torch.eye(linear.irreps_in.dim))
    rows, columns = _first_components(linear.irreps_in), _first_components(linear.irreps_out)
    return {
        degree: whole[rows[degree]][:, columns[degree]].contiguous() for degree in columns if degree in rows
    }


def _first_components(irreps: _Module) -> dict[int, Tensor]:
    """Index of the first component of every channel, by degree."""
    found: dict[int, list[Tensor]] = {}
    for irrep, place in zip(irreps, irreps.slices(), strict=True):
        found.setdefault(irrep.ir.l, []).append(torch.arange(place.start, place.stop, 2 * irrep.ir.l + 1))
    return {degree: torch.cat(indices) for degree, indices in found.items()}


def _symbols(layers: Sequence[_Layer]) -> dict[Degrees, Tensor]:
    """Wigner 3j symbols of all paths, (2 l_pair + 1, (2 l_out + 1) (2 l_in + 1))."""
    from e3nn.o3 import wigner_3j

    paths = {path.degrees for layer in layers for path in layer.paths}
    return {path: wigner_3j(*path).permute(1, 2, 0).flatten(1) for path in sorted(paths)}
