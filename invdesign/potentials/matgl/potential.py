"""Potentials of the matgl library (M3GNet, TensorNet, …), batched; from a folder or by hub name.

matgl is the optional extra ``invdesign[matgl]``. TensorNet and M3GNet are evaluated by a rewritten forward
pass (``tensornet.py``, ``m3gnet.py``), which is compared with matgl's when a potential is loaded; every other
potential, and one that fails this comparison, is evaluated by matgl.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from invdesign.errors import InputError
from invdesign.io.units import EV_PER_A3
from invdesign.potentials.batching import (
    BatchedPotential,
    BatchResult,
    CrystalBatch,
    forces_and_stresses,
    neighbour_pairs,
)
from invdesign.potentials.interface import LAST_ATOMIC_NUMBER, Frame
from invdesign.potentials.matgl.checkpoint import MODEL_FILES, model_folder, root_cause
from invdesign.potentials.matgl.graph import PairGraph, PairNetwork, pair_graph

if TYPE_CHECKING:
    from torch import Tensor

_Model: TypeAlias = Any  # a matgl potential; matgl is optional and untyped

# Directed edges of one micro-batch. On a CPU some 24 crystals at a time stay in the cache; a GPU wants many.
EDGES_PER_BATCH = {"cpu": 6_000, "cuda": 300_000}
AGREEMENT = 1e-3  # of the largest value: rounding is 1e-5 of it, another function is far off


class MatglPotential(BatchedPotential):
    """Any matgl potential for batches, on the GPU where there is one."""

    def __init__(self, name: str, model: _Model, device: str | None = None, digest: str = "") -> None:
        """Wrap a loaded ``matgl.apps.pes.Potential``.

        Args:
            name: its name in reports.
            model: the matgl potential.
            device: torch device; None takes the GPU where there is one.
            digest: hash of its files: folders of the same name may hold different weights.
        """
        import torch
        from pymatgen.core import Element

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.name, self.digest = name, digest
        self.device = torch.device(device)
        self.max_edges = EDGES_PER_BATCH[self.device.type]
        self._model = model.to(self.device).eval().requires_grad_(requires_grad=False)
        self._without_gradients = copy.copy(self._model)
        self._without_gradients.calc_forces = self._without_gradients.calc_stresses = False
        symbols = model.model.element_types
        self.elements = frozenset(symbols)
        self.cutoff = float(model.model.cutoff)
        self._node_type = np.full(LAST_ATOMIC_NUMBER + 1, -1)
        self._node_type[[Element(symbol).Z for symbol in symbols]] = np.arange(len(symbols))
        self._network = self._rewritten()

    def compute(self, batch: CrystalBatch) -> BatchResult:
        """Compute energies, forces and stresses."""
        if self._network is None:
            return self._by_matgl(batch)
        return self._by_network(batch, self._network)

    def compute_energies(self, batch: CrystalBatch) -> BatchResult:
        """Compute energies without gradients, at less than half the cost."""
        import torch

        if self._network is None:
            energies = self._without_gradients(*self._matgl_graph(batch), state_attr=None)[0].reshape(-1)
        else:
            with torch.no_grad():
                energies, _ = self._energies(batch, self._network)
        return BatchResult(energies.detach().cpu().double().numpy())

    def _rewritten(self) -> PairNetwork | None:
        """Rewrite the network, if that is possible and gives what matgl gives."""
        from invdesign.potentials.matgl.m3gnet import FastM3GNet
        from invdesign.potentials.matgl.tensornet import FastTensorNet

        potential, references = self._model, self._model.element_refs
        if potential.calc_repuls or (references is not None and references.property_offset.ndim != 1):
            return None
        for kind in (FastTensorNet, FastM3GNet):
            if kind.supports(potential.model):
                network: PairNetwork = kind(potential.model)
                return network if self._agrees(network) else None
        return None

    def _agrees(self, network: PairNetwork) -> bool:
        """Compare with matgl on one crystal of the model's first and last elements."""
        rng = np.random.default_rng(0)
        grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)
        spacing = 0.48 * self.cutoff  # so that there are edges and, for M3GNet, pairs of edges
        known = np.flatnonzero(self._node_type >= 0)
        frame = Frame(
            np.tile(known[[0, -1]], 4),
            spacing * (grid + rng.uniform(-0.1, 0.1, grid.shape)),
            2 * spacing * (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))),
        )
        batch = CrystalBatch.join([frame], [neighbour_pairs(frame, self.cutoff)])
        rewritten, original = self._by_network(batch, network), self._by_matgl(batch)
        both = [(np.asarray(a), np.asarray(b)) for a, b in zip(rewritten[:3], original[:3], strict=True)]
        return all(np.abs(a - b).max() <= AGREEMENT * np.abs(b).max() for a, b in both)

    def _by_matgl(self, batch: CrystalBatch) -> BatchResult:
        energies, forces, stresses, *_ = (
            part.detach().cpu().double().numpy()
            for part in self._model(*self._matgl_graph(batch), state_attr=None)
        )
        stresses = stresses.reshape(-1, 3, 3) / EV_PER_A3
        return BatchResult(energies.reshape(-1), forces, (stresses + stresses.transpose(0, 2, 1)) / 2)

    def _by_network(self, batch: CrystalBatch, network: PairNetwork) -> BatchResult:
        import torch

        energies, graph = self._energies(batch, network)
        (gradient,) = torch.autograd.grad(energies.sum(), graph.vectors)
        derivatives = forces_and_stresses(batch, graph.first, graph.second, graph.vectors, gradient)
        return BatchResult(energies.detach().cpu().numpy(), *derivatives)

    def _energies(self, batch: CrystalBatch, network: PairNetwork) -> tuple[Tensor, PairGraph]:
        """Compute energies (n,) eV float64 by a rewritten network, and the graph with its vectors."""
        graph = pair_graph(batch, self._node_type[batch.numbers], network, self.device)
        graph.vectors.requires_grad_()
        sites = network.sites(graph).double() * self._model.data_std
        if (references := self._model.element_refs) is not None:
            sites = sites + references.property_offset[graph.types]
        energies = sites.new_zeros(len(batch)).index_add(0, graph.crystal, sites)
        return energies + self._model.data_mean, graph

    def _matgl_graph(self, batch: CrystalBatch) -> tuple[Any, Tensor]:
        """Make a torch-geometric batch (edges sorted by source, for the three-body list) and its cells."""
        import torch
        from torch_geometric.data import Batch

        frames, dtype = batch.frames, self._model.data_mean.dtype
        sizes = [len(frame) for frame in frames]
        source = np.concatenate([batch.first, batch.second])
        order = np.argsort(source, kind="stable")
        target = np.concatenate([batch.second, batch.first])
        shifts = np.concatenate([batch.shifts, -batch.shifts])
        fractional = np.concatenate([np.linalg.solve(f.cell.T, f.positions.T).T for f in frames])
        graph = Batch(
            edge_index=torch.from_numpy(np.stack([source, target])[:, order]),
            pbc_offset=torch.from_numpy(shifts[order]).to(dtype),
            node_type=torch.from_numpy(self._node_type[batch.numbers]),
            frac_coords=torch.from_numpy(fractional).to(dtype),
            batch=torch.from_numpy(batch.crystal),
            ptr=torch.from_numpy(np.cumsum([0, *sizes])),
            num_nodes=sum(sizes),
        )
        cells = torch.from_numpy(np.stack([f.cell for f in frames])).to(dtype)
        return graph.to(self.device), cells.to(self.device)


def load_matgl(name: str) -> MatglPotential:
    """Load a matgl potential from a folder or by hub name; see ``load_potential``.

    Raises:
        InputError: matgl is not installed; the folder lacks a file; the model cannot be read, is not a
            potential, or was saved before matgl 3.0 (this matgl evaluates it wrongly); or the name is not a
            folder and the hub does not have it or cannot be reached.
    """
    try:
        from matgl.apps.pes import Potential
        from matgl.utils.io import load_model
    except ImportError as error:
        raise InputError(
            f"potential {name!r} needs matgl ({error}); install it with: pip install 'invdesign[matgl]'."
        ) from error
    folder = model_folder(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = load_model(folder)
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"potential folder {str(folder)!r} cannot be loaded ({root_cause(error)}); restore its files."
            ) from error
    if any("Incompatible model version" in str(warning.message) for warning in caught):
        raise InputError(
            f"potential {name!r} was saved by an older matgl, and this one evaluates it wrongly; "
            "give a folder that was saved or converted with matgl 4."
        )
    if not isinstance(model, Potential) or model.calc_charge or not model.calc_stresses:
        raise InputError(
            f"potential {name!r} gives no energies, forces and stresses; give a matgl Potential that does."
        )
    label = folder.resolve().name if Path(name).expanduser().is_dir() else name
    digest = hashlib.sha256(b"".join((folder / file).read_bytes() for file in MODEL_FILES)).hexdigest()[:16]
    return MatglPotential(label, model, digest=digest)
