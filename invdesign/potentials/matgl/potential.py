"""Potentials of the matgl library (M3GNet, TensorNet, …), batched; from a folder or by hub name.

matgl is the optional extra ``invdesign[matgl]``. TensorNet and M3GNet are evaluated by our own rewriting
of their forward pass (``matgl_tensornet``, ``matgl_m3gnet``), which is checked against matgl's when a
potential is loaded; every other potential, and one that fails this check, by matgl itself.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from invdesign.errors import InputError
from invdesign.potentials.interface import Evaluation, Frame, Pairs, Passes, as_frames, neighbour_pairs
from invdesign.potentials.matgl.checkpoint import MODEL_FILES, model_folder, root_cause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure
    from torch import Tensor

    from invdesign.potentials.matgl.graph import Network, PairGraph

_Model: TypeAlias = Any  # a matgl potential; matgl is optional and untyped

GPA = 160.21766208  # in 1 eV/Å³
# Directed edges of one pass. On a CPU some 24 crystals at a time stay in the cache; a GPU wants many.
EDGES_PER_PASS = {"cpu": 6_000, "cuda": 300_000}
AGREEMENT = 1e-3  # of the largest value: rounding is 1e-5 of it, another function is far off


class MatglPotential:
    """Any matgl potential for batches; the device is the GPU where there is one."""

    def __init__(self, name: str, model: _Model, device: str | None = None, digest: str = "") -> None:
        """Wrap a loaded ``matgl.apps.pes.Potential``.

        Args:
            name: what it is called in reports.
            model: the matgl potential.
            device: torch device; None takes the GPU where there is one.
            digest: hash of its files: folders of the same name may hold different weights.
        """
        import torch
        from pymatgen.core import Element

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.name, self.digest = name, digest
        self.device = torch.device(device)
        self._model = model.to(self.device).eval().requires_grad_(requires_grad=False)
        self._without_gradients = copy.copy(self._model)
        self._without_gradients.calc_forces = self._without_gradients.calc_stresses = False
        symbols = model.model.element_types
        self.elements = frozenset(symbols)
        self._cutoff = float(model.model.cutoff)
        self._node_type = np.full(119, -1)
        self._node_type[[Element(symbol).Z for symbol in symbols]] = np.arange(len(symbols))
        self._passes = Passes(name, self.elements, self._cutoff, EDGES_PER_PASS[self.device.type])
        self._network = self._rewritten()

    def evaluate(self, crystals: Sequence[Structure | Frame]) -> Evaluation:
        """Energies (eV), forces (eV/Å) and stresses (eV/Å³); failures are named by index."""
        failures: dict[int, str] = {}
        frames = as_frames(crystals, failures)
        result = Evaluation.empty(frames)
        result.failures = failures

        def compute(members: list[int], pairs: list[Pairs]) -> None:
            own = [frames[k] for k in members]
            energies, forces, stresses = self._derived(own, pairs, self._network)
            by_crystal = np.split(forces, np.cumsum([len(frame) for frame in own])[:-1])
            for k, energy, force, stress in zip(members, energies, by_crystal, stresses, strict=True):
                result.store(k, self.name, energy, force, stress)

        self._passes.run(frames, compute, result.failures)
        return result

    def energies(self, crystals: Sequence[Structure | Frame]) -> tuple[np.ndarray, dict[int, str]]:
        """Energies without gradients, at less than half the cost.

        Returns:
            energies (n,) eV per cell, nan where the evaluation failed, and failures by index.
        """
        import torch

        failures: dict[int, str] = {}
        frames = as_frames(crystals, failures)
        found = np.full(len(frames), np.nan)

        def compute(members: list[int], pairs: list[Pairs]) -> None:
            own = [frames[k] for k in members]
            if self._network is None:
                graph, cells = self._graph(own, pairs)
                energies = self._without_gradients(graph, cells, state_attr=None)[0].reshape(-1)
            else:
                with torch.no_grad():
                    energies, _ = self._energies(own, pairs, self._network)
            found[members] = energies.detach().cpu().double().numpy()

        self._passes.run(frames, compute, failures)
        for k in np.flatnonzero(~np.isfinite(found)).tolist():
            found[k] = np.nan
            failures.setdefault(k, f"{self.name} returned an energy that is not finite")
        return found, failures

    def _rewritten(self) -> Network | None:
        """Our form of the network, if there is one and it gives what matgl gives."""
        from invdesign.potentials.matgl.m3gnet import FastM3GNet
        from invdesign.potentials.matgl.tensornet import FastTensorNet

        potential, references = self._model, self._model.element_refs
        if potential.calc_repuls or (references is not None and references.property_offset.ndim != 1):
            return None
        for kind in (FastTensorNet, FastM3GNet):
            if kind.can_be(potential.model):
                network: Network = kind(potential.model)
                return network if self._agrees(network) else None
        return None

    def _agrees(self, network: Network) -> bool:
        """Compare with matgl on one crystal of the model's first and last elements."""
        rng = np.random.default_rng(0)
        grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)
        spacing = 0.48 * self._cutoff  # so that there are edges and, for M3GNet, pairs of edges
        known = np.flatnonzero(self._node_type >= 0)
        frame = Frame(
            np.tile(known[[0, -1]], 4),
            spacing * (grid + rng.uniform(-0.1, 0.1, grid.shape)),
            2 * spacing * (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))),
        )
        pairs = [neighbour_pairs(frame, self._cutoff)]
        both = zip(self._derived([frame], pairs, network), self._derived([frame], pairs, None), strict=True)
        return all(np.abs(ours - theirs).max() <= AGREEMENT * np.abs(theirs).max() for ours, theirs in both)

    def _derived(
        self, frames: list[Frame], pairs: list[Pairs], network: Network | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies (n,), forces (atoms, 3) and symmetric stresses (n, 3, 3) of one pass."""
        import torch

        if network is None:
            graph, cells = self._graph(frames, pairs)
            energies, forces, stresses, *_ = (
                part.detach().cpu().double().numpy() for part in self._model(graph, cells, state_attr=None)
            )
            stresses = stresses.reshape(-1, 3, 3) / GPA
            return energies.reshape(-1), forces, (stresses + stresses.transpose(0, 2, 1)) / 2
        from invdesign.potentials.matgl.graph import forces_and_virials

        energy, pair_graph = self._energies(frames, pairs, network)
        (slope,) = torch.autograd.grad(energy.sum(), pair_graph.vectors)
        forces, virials = forces_and_virials(pair_graph, slope)
        volumes = np.array([frame.volume for frame in frames])
        return energy.detach().cpu().numpy(), forces, virials / volumes[:, None, None]

    def _energies(
        self, frames: list[Frame], pairs: list[Pairs], network: Network
    ) -> tuple[Tensor, PairGraph]:
        """Energies (n,) eV float64 by our network, and the graph whose vectors they can be derived by."""
        from invdesign.potentials.matgl.graph import pair_graph

        types = self._node_type[np.concatenate([frame.numbers for frame in frames])]
        graph = pair_graph(frames, pairs, types, network, self.device)
        graph.vectors.requires_grad_()
        sites = network.sites(graph).double() * self._model.data_std
        if (references := self._model.element_refs) is not None:
            sites = sites + references.property_offset[graph.types]
        energies = sites.new_zeros(len(frames)).index_add(0, graph.crystal, sites)
        return energies + self._model.data_mean, graph

    def _graph(self, frames: list[Frame], pairs: list[Pairs]) -> tuple[Any, Tensor]:
        """One torch-geometric batch (edges sorted by source, as the three-body list needs) and its cells."""
        import torch
        from torch_geometric.data import Batch

        sizes = np.array([len(frame) for frame in frames])
        offsets = np.cumsum(sizes) - sizes
        sources, targets, shifts = [], [], []
        for pair, offset in zip(pairs, offsets, strict=True):
            source = np.concatenate([pair.first, pair.second])
            order = np.argsort(source, kind="stable")
            sources.append(source[order] + offset)
            targets.append(np.concatenate([pair.second, pair.first])[order] + offset)
            shifts.append(np.concatenate([pair.shifts, -pair.shifts])[order])
        dtype = self._model.data_mean.dtype
        fractional = np.concatenate([np.linalg.solve(f.cell.T, f.positions.T).T for f in frames])
        graph = Batch(
            edge_index=torch.from_numpy(np.stack([np.concatenate(sources), np.concatenate(targets)])),
            pbc_offset=torch.from_numpy(np.concatenate(shifts)).to(dtype),
            node_type=torch.from_numpy(self._node_type[np.concatenate([f.numbers for f in frames])]),
            frac_coords=torch.from_numpy(fractional).to(dtype),
            batch=torch.from_numpy(np.repeat(np.arange(len(frames)), sizes)),
            ptr=torch.from_numpy(np.append(offsets, sizes.sum())),
            num_nodes=int(sizes.sum()),
        )
        cells = torch.from_numpy(np.stack([f.cell for f in frames])).to(dtype)
        return graph.to(self.device), cells.to(self.device)


def load_matgl(name: str) -> MatglPotential:
    """A matgl potential from a folder or by hub name (``NAME``, ``NAME@REVISION``); see ``load_potential``.

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
    called = folder.resolve().name if Path(name).expanduser().is_dir() else name
    digest = hashlib.sha256(b"".join((folder / file).read_bytes() for file in MODEL_FILES)).hexdigest()[:16]
    return MatglPotential(called, model, digest=digest)
