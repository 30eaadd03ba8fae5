"""Crystals as the arrays that the crystal VAE reads and writes: tokens, cell, free coordinates."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from invdesign.data.tokens import TokenSet
from invdesign.generators.geometry.lattice import strains
from invdesign.generators.geometry.sites import Sites


@dataclass(frozen=True)
class Crystals:
    """N crystals of at most S orbits, in the order of their genes.

    Attributes:
        group: (N,) space group.
        elements: (N, S) atomic numbers, 0 beyond the last orbit.
        letters: (N, S) index into ``LETTERS``, 0 beyond the last orbit.
        free: (N, S, 3) free coordinates, left-aligned, 0 where there is none.
        cell: (N, 6) strains of ``geometry_lattice`` against ``volume_estimate``, 0 where symmetry fixes them.
    """

    group: Tensor
    elements: Tensor
    letters: Tensor
    free: Tensor
    cell: Tensor

    def __len__(self) -> int:
        return len(self.group)

    @property
    def occupied(self) -> Tensor:
        """(N, S) True for orbits, False for padding."""
        return self.elements > 0

    def select(self, rows: Tensor) -> Crystals:
        """Select some crystals, without padding that none of them needs."""
        width = int((self.elements[rows] > 0).sum(1).max())
        return Crystals(
            self.group[rows],
            self.elements[rows, :width],
            self.letters[rows, :width],
            self.free[rows, :width],
            self.cell[rows],
        )

    def to(self, device: torch.device) -> Crystals:
        """Move to another device."""
        return Crystals(*(getattr(self, field.name).to(device) for field in fields(self)))


def crystals_of(tokens: TokenSet) -> Crystals:
    """Return the arrays of a token set."""
    group, elements, letters = (
        torch.from_numpy(array.astype(np.int64))
        for array in (tokens.space_group, tokens.elements, tokens.letters)
    )
    estimate = Sites.of_tokens(group, elements, letters).volume.double()
    lattice = torch.from_numpy(tokens.lattice.astype(np.float64))
    return Crystals(
        group,
        elements,
        letters,
        torch.from_numpy(np.nan_to_num(tokens.free).astype(np.float32)),
        strains(lattice, group, estimate).float(),
    )
