"""SevenNet-0 and SevenNet-l3i5, batched: potentials that learned nothing else here, from their own wheel.

The weights are those of the ``sevenn`` wheel (MIT licence), trained on the Materials Project's trajectories
(MPtrj) and so on its energies without corrections. ``network.py`` rewrites the forward pass; it is compared
with sevenn's when a potential is loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from invdesign.errors import InputError
from invdesign.potentials.batching import (
    BatchedPotential,
    BatchResult,
    CrystalBatch,
    forces_and_stresses,
    neighbour_pairs,
)
from invdesign.potentials.interface import LAST_ATOMIC_NUMBER, Frame

if TYPE_CHECKING:
    from torch import Tensor

    from invdesign.potentials.sevennet.network import SevenNet

_Model: TypeAlias = Any  # sevenn's, untyped

# Directed edges of one micro-batch. On a CPU some ten crystals at a time stay in the cache; a GPU wants many.
EDGES_PER_BATCH = {"cpu": 4_000, "cuda": 100_000}
WEIGHTS = {"7net-0": "SEVENNET_0_11Jul2024", "7net-l3i5": "SEVENNET_l3i5"}  # in sevenn's constants
AGREEMENT = 1e-4  # eV, eV/Å; rounding is 1e-5, another function is far off


class SevenNetPotential(BatchedPotential):
    """A SevenNet for batches, on the GPU where there is one; the network is built when it is first used."""

    def __init__(self, name: str, device: str | None = None) -> None:
        """Find the weights of the installed ``sevenn`` wheel.

        Args:
            name: ``7net-0`` or ``7net-l3i5``.
            device: torch device; None takes the GPU where there is one.

        Raises:
            InputError: sevenn is not installed.
        """
        import torch
        from pymatgen.core import Element

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from sevenn import _const
        except ImportError as error:
            raise InputError(
                f"potential {name!r} needs sevenn ({error}); install it with: pip install sevenn."
            ) from error
        self._path = Path(getattr(_const, WEIGHTS[name]))
        config = torch.load(self._path, map_location="cpu", weights_only=False)["config"]
        species: dict[int, int] = config["_type_map"]
        self.name = name
        self.digest = hashlib.sha256(self._path.read_bytes()).hexdigest()[:16]
        self.cutoff = float(config["cutoff"])
        self.elements = frozenset(Element.from_Z(z).symbol for z in species)
        self._species = np.full(LAST_ATOMIC_NUMBER + 1, -1)
        self._species[list(species)] = list(species.values())
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.max_edges = EDGES_PER_BATCH[self._device.type]

    @property
    def embedding_size(self) -> int:  # type: ignore[override]
        """Return the number of last scalars of an atom."""
        return int(self._network.n_scalars)

    @cached_property
    def _network(self) -> SevenNet:
        """The network, checked against sevenn's; built once, which takes seconds.

        Raises:
            InputError: this version's network is another.
        """
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            from sevenn.util import load_checkpoint

            from invdesign.potentials.sevennet.network import SevenNet

            model = load_checkpoint(self._path).build_model().eval().requires_grad_(requires_grad=False)
            network = SevenNet(model, self.cutoff)
        self._check(network, model)
        network.to(self._device)
        return network

    def compute(self, batch: CrystalBatch) -> BatchResult:
        """Compute energies, forces, stresses and embeddings."""
        return self._compute(self._network, batch)

    def _compute(self, network: SevenNet, batch: CrystalBatch) -> BatchResult:
        import torch

        vectors = torch.from_numpy(batch.vectors).to(network.device).requires_grad_()
        energies, embeddings = self._evaluate_batch(network, batch, vectors)
        (gradient,) = torch.autograd.grad(energies.sum(), vectors)
        first, second = (torch.from_numpy(ends).to(network.device) for ends in (batch.first, batch.second))
        derivatives = forces_and_stresses(batch, first, second, vectors, gradient)
        return BatchResult(energies.detach().cpu().numpy(), *derivatives, embeddings.detach().cpu().numpy())

    def compute_energies(self, batch: CrystalBatch) -> BatchResult:
        """Compute energies and embeddings, without gradients."""
        import torch

        with torch.no_grad():
            vectors = torch.from_numpy(batch.vectors).to(self._device)
            energies, embeddings = self._evaluate_batch(self._network, batch, vectors)
        return BatchResult(energies.cpu().numpy(), embeddings=embeddings.cpu().numpy())

    def _evaluate_batch(
        self, network: SevenNet, batch: CrystalBatch, vectors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Energies (n,) eV float64, and the mean of the atoms' last scalars (n, d)."""
        import torch

        from invdesign.potentials.sevennet.network import neighbour_groups

        species = torch.from_numpy(self._species[batch.numbers]).to(network.device)
        crystal = torch.from_numpy(batch.crystal).to(network.device)
        sites, scalars = network.sites(species, neighbour_groups(batch, network.device), vectors)
        n_atoms = torch.bincount(crystal, minlength=len(batch))[:, None]
        energies = sites.new_zeros(len(batch)).index_add(0, crystal, sites)
        embeddings = scalars.new_zeros(len(batch), scalars.shape[1]).index_add(0, crystal, scalars) / n_atoms
        return energies, embeddings

    def _check(self, network: SevenNet, model: _Model) -> None:
        """Compare with sevenn on one distorted crystal of its first and last elements."""
        rng = np.random.default_rng(0)
        grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)
        spacing = 0.48 * self.cutoff
        known = np.flatnonzero(self._species >= 0)
        frame = Frame(
            np.tile(known[[0, -1]], 4),
            spacing * (grid + rng.uniform(-0.1, 0.1, grid.shape)),
            2 * spacing * (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))),
        )
        ours = self._compute(network, CrystalBatch.join([frame], [neighbour_pairs(frame, self.cutoff)]))
        energy, forces = _by_sevenn(model, frame, self.cutoff)
        differences = (abs(ours.energies[0] - energy), np.abs(np.asarray(ours.forces) - forces).max())
        if max(differences) > AGREEMENT:
            raise InputError(
                f"potential: {self.name} of this sevenn is another network than the one known here; "
                "install sevenn 0.13."
            )


def _by_sevenn(model: _Model, frame: Frame, cutoff: float) -> tuple[float, np.ndarray]:
    """Energy, eV, and forces, eV/Å, by sevenn's own modules."""
    from ase import Atoms
    from sevenn import _keys
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.train.dataload import unlabeled_atoms_to_graph

    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=True)
    model.set_is_batch_data(False)
    output = model(AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, cutoff, with_shift=False)))
    forces = output[_keys.PRED_FORCE].detach().numpy()
    return output[_keys.PRED_TOTAL_ENERGY].item(), forces


def sevennet_0() -> SevenNetPotential:
    """Load SevenNet-0 (11 July 2024)."""
    return SevenNetPotential("7net-0")


def sevennet_l3i5() -> SevenNetPotential:
    """Load SevenNet-l3i5: angular momenta up to 3, five layers; more accurate, and 2.5 times dearer."""
    return SevenNetPotential("7net-l3i5")
