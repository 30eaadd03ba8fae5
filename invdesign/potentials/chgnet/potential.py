"""CHGNet 0.3.0, batched: the potential that needs no download.

The weights are those of the ``chgnet`` wheel (Deng et al., Nature Machine Intelligence 2023; BSD-3). The
forward pass is rewritten (``chgnet_network.py``), because the package's own costs five times as much per step
of a ten-atom crystal: it builds the graph in Python, and asks for forces and stress in two backward passes
with ``create_graph``. What differs, none of it in the function computed:

- pairs come from vesin and are stored as halves: directed edge k and k + m are each other's reverse;
- one gradient, by the pair vectors, gives forces and stress;
- the first layer of each message network acts on atoms and bonds before they are gathered on edges;
- bonds beyond the 3 Å of the bond graph never change after the embedding, so they are left out of it;
- the last angle update feeds nothing, so it is left out;
- distances and their basis functions are in float64. On 50 crystals of mp20, perturbed by 0.05 Å, float32
  differs from float64 by at most 4e-6 eV, 2e-6 eV/Å and 4e-8 eV/Å³; the package's own by 1e-5, 1e-4 and 2e-6.
  In float64 the two agree to 2e-13 eV/Å.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invdesign.potentials.interface import Evaluation, Frame, Pairs, Passes, as_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure
    from torch import Tensor

EMBEDDING_SIZE = 64
LAST_ELEMENT = 94  # plutonium
# Po, At, Rn, Fr, Ra: the network has a place for them, but no crystal with them was in its training data
UNTRAINED = {84, 85, 86, 87, 88}
# Directed edges per micro-batch. On a CPU a few crystals at a time stay in the cache; a GPU wants many.
EDGES_PER_PASS = {"cpu": 6_000, "cuda": 600_000}


@dataclass(slots=True)
class Graph:
    """Several crystals as one graph: m pairs, short ones first, s of them in the bond graph.

    Pairs at the cutoff (from atom 0 to itself) fill m up to a multiple of ``chgnet_network.ROWS``, and angles
    between them the angles; they weigh nothing.
    """

    members: list[int]  # which crystals of the batch
    numbers: Tensor  # (atoms,)
    crystal: Tensor  # (atoms,) index of the crystal
    ends: Tensor  # (2 m,) where a directed edge starts; edge k + m is edge k reversed
    other_ends: Tensor  # (2 m,)
    vectors: Tensor  # (m, 3) float64, from first to second
    n_short: int
    angle_atom: Tensor  # (angles,) the atom between the two bonds
    angle_edges: Tensor  # (angles, 2) directed short edges: k < s is pair k, k >= s is pair k - s reversed
    angle_pairs: Tensor  # (angles, 2) their pairs


class CHGNetPotential:
    """CHGNet 0.3.0 for batches; the device is the GPU where there is one.

    Example:
        >>> CHGNetPotential().evaluate([structure]).energy  # doctest: +SKIP
        array([-12.63])
    """

    name = "chgnet-0.3.0"

    def __init__(self, device: str | None = None, *, double: bool = False) -> None:
        """Load the weights of the installed ``chgnet`` wheel.

        Args:
            device: torch device; None takes the GPU where there is one.
            double: compute in float64, where rounding matters (finite differences, phonons); the weights
                were trained in float32, and this costs twice the time.
        """
        import torch
        from pymatgen.core import Element

        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            from chgnet.model.model import CHGNet

            from invdesign.potentials.chgnet.model import Network

            device = device or ("cuda" if torch.cuda.is_available() else "cpu")
            model = CHGNet.load(use_device=device, verbose=False)
        self.digest = weights_digest()
        self.device = torch.device(device)
        known = set(range(1, LAST_ELEMENT + 1)) - UNTRAINED
        self.elements = frozenset(Element.from_Z(z).symbol for z in known)
        dtype = torch.float64 if double else torch.float32
        self._network = Network(model.eval().requires_grad_(requires_grad=False).to(dtype))
        self._short: float = model.graph_converter.bond_graph_cutoff
        cutoff = model.graph_converter.atom_graph_cutoff
        self._cutoff: float = cutoff
        self._passes = Passes(self.name, self.elements, cutoff, EDGES_PER_PASS[self.device.type])

    def evaluate(self, crystals: Sequence[Structure | Frame]) -> Evaluation:
        """Energies (eV), forces (eV/Å), stresses (eV/Å³) and embeddings; failures are named by index."""
        import torch

        failures: dict[int, str] = {}
        frames = as_frames(crystals, failures)
        result = Evaluation.empty(frames)
        result.failures = failures
        embeddings = np.full((len(frames), EMBEDDING_SIZE), np.nan, dtype=np.float32)
        result.embeddings = embeddings

        def compute(members: list[int], pairs: list[Pairs]) -> None:
            graph = self._graph(members, [frames[k] for k in members], pairs)
            graph.vectors.requires_grad_()
            energy, feature = self._network(graph)
            (slope,) = torch.autograd.grad(energy.sum(), graph.vectors)
            _fill(result, frames, graph, energy, slope)
            embeddings[members] = feature.detach().cpu().numpy()

        self._passes.run(frames, compute, failures)
        return result

    def embed(self, crystals: Sequence[Structure | Frame]) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """Energies and crystal features, without gradients.

        Returns:
            energies (n,) eV per cell, features (n, 64) float32 (the mean of the atoms' last features), and
            failures by index; rows that failed are nan.
        """
        import torch

        failures: dict[int, str] = {}
        frames = as_frames(crystals, failures)
        energies = np.full(len(frames), np.nan)
        features = np.full((len(frames), EMBEDDING_SIZE), np.nan, dtype=np.float32)

        def compute(members: list[int], pairs: list[Pairs]) -> None:
            graph = self._graph(members, [frames[k] for k in members], pairs)
            with torch.no_grad():
                energy, feature = self._network(graph)
            energies[members] = energy.cpu().numpy()
            features[members] = feature.cpu().numpy()

        self._passes.run(frames, compute, failures)
        for k in np.flatnonzero(~(np.isfinite(energies) & np.isfinite(features).all(axis=1))).tolist():
            energies[k], features[k] = np.nan, np.nan
            failures.setdefault(k, f"{self.name} returned an energy or feature that is not finite")
        return energies, features, failures

    def _graph(self, members: list[int], frames: list[Frame], pairs: list[Pairs]) -> Graph:
        import torch

        from invdesign.potentials.chgnet.model import ROWS

        sizes = np.array([len(frame) for frame in frames])
        offsets = np.cumsum(sizes) - sizes
        first = np.concatenate([p.first + o for p, o in zip(pairs, offsets, strict=True)])
        second = np.concatenate([p.second + o for p, o in zip(pairs, offsets, strict=True)])
        vectors = np.concatenate([p.vectors for p in pairs])
        short = np.concatenate([p.distances for p in pairs]) < self._short
        # Pairs at the cutoff fill the numbers of rows up: they weigh nothing, and neither do their angles.
        n_pads, n_real = -len(first) % ROWS or ROWS, int(short.sum())
        pads = np.full((n_pads, 3), [self._cutoff, 0.0, 0.0])
        at, rest = np.flatnonzero(short), np.flatnonzero(~short)

        def padded(array: np.ndarray, pad: np.ndarray) -> np.ndarray:
            return np.concatenate([array[at], pad, array[rest]])

        edges = _edge_pairs(np.concatenate([first[at], second[at]]))
        edges += n_pads * (edges >= n_real)
        edges = np.concatenate([edges, np.full((-len(edges) % ROWS, 2), n_real)])
        first, second = (padded(ends, np.zeros(n_pads, dtype=np.int64)) for ends in (first, second))
        vectors = padded(vectors, pads)
        n_short = n_real + n_pads
        centre = np.concatenate([first[:n_short], second[:n_short]])[edges[:, 0]]

        def index(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(self.device)

        return Graph(
            members,
            index(np.concatenate([frame.numbers for frame in frames])),
            index(np.repeat(np.arange(len(frames)), sizes)),
            index(np.concatenate([first, second])),
            index(np.concatenate([second, first])),
            index(vectors),
            n_short,
            index(centre),
            index(edges),
            index(edges % n_short),
        )


def weights_file() -> Path:
    """The installed wheel's weights; the package is not imported, which takes seconds."""
    package = find_spec("chgnet")
    assert package is not None  # noqa: S101 - it is a dependency
    assert package.origin is not None  # noqa: S101
    return next((Path(package.origin).parent / "pretrained" / "0.3.0").glob("*.pth.tar"))


@lru_cache(maxsize=1)
def weights_digest() -> str:
    """Hash of the installed weights."""
    return hashlib.sha256(weights_file().read_bytes()).hexdigest()[:16]


def _fill(result: Evaluation, frames: list[Frame], graph: Graph, energy: Tensor, slope: Tensor) -> None:
    """Turn dE/d(pair vector) into forces and stress and store everything (sums in float64)."""
    import torch

    forces = slope.new_zeros(len(graph.numbers), 3)
    forces.index_add_(0, graph.ends, torch.cat([slope, -slope]))
    virial = slope.new_zeros(len(graph.members), 3, 3)
    outer = graph.vectors.detach()[:, :, None] * slope[:, None, :]
    virials = virial.index_add_(0, graph.crystal[graph.ends[: len(slope)]], outer).cpu().numpy()
    energies = energy.detach().cpu().numpy()
    by_crystal = np.split(forces.cpu().numpy(), np.cumsum([len(frames[k]) for k in graph.members]))
    for row, k in enumerate(graph.members):
        stress = (virials[row] + virials[row].T) / (2 * frames[k].volume)
        result.store(k, CHGNetPotential.name, energies[row], by_crystal[row], stress)


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
