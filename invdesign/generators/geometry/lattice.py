"""Cells as six numbers of which a crystal system leaves some free: log size, and shape as a log-strain.

A conventional cell is ``size · frame · exp(strain)``: the frame is the unit cube, or the hexagonal cell of
unit volume; the size follows from the expected volume. A strain that the point group allows is a
combination of the system's ``BASIS`` matrices, any six numbers give a cell, and volume is the first alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np


_R2, _R6 = 2**-0.5, 6**-0.5
BASIS = torch.tensor(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[_R6, 0, 0], [0, _R6, 0], [0, 0, -2 * _R6]],
        [[_R2, 0, 0], [0, -_R2, 0], [0, 0, 0]],
        [[0, 0, _R2], [0, 0, 0], [_R2, 0, 0]],
        [[0, 0, 0], [0, 0, _R2], [0, _R2, 0]],
        [[0, _R2, 0], [_R2, 0, 0], [0, 0, 0]],
    ],
    dtype=torch.float64,
)
"""Isotropic (a third of the log volume); c against a and b; a against b; xz, yz and xy shear."""

_FIRST_GROUPS = torch.tensor([3, 16, 75, 143, 195])  # monoclinic to cubic
_N_FREE = torch.tensor([6, 4, 3, 2, 2, 1])
_HEXAGONAL = 4
_HEXAGONAL_FRAME = (4 / 3) ** (1 / 6) * torch.tensor(
    [[1, 0, 0], [-0.5, 3**0.5 / 2, 0], [0, 0, 1]], dtype=torch.float64
)


def crystal_system(group: Tensor) -> Tensor:
    """(B,) 0 to 5: triclinic, monoclinic, orthorhombic, tetragonal, hexagonal axes, cubic."""
    return torch.bucketize(group, _FIRST_GROUPS.to(group.device), right=True)


def free_strains(group: Tensor) -> Tensor:
    """(B, 6) which numbers the crystal system leaves free."""
    count = _N_FREE.to(group.device)[crystal_system(group)]
    return torch.arange(6, device=group.device) < count[:, None]


def cells(strain: Tensor, group: Tensor, volume: Tensor) -> Tensor:
    """(B, 3, 3) conventional cells, rows in Å, for strains (B, 6) and expected volumes (B,) in Å³."""
    hexagonal = (crystal_system(group) == _HEXAGONAL)[:, None, None]
    frame = torch.where(hexagonal, _HEXAGONAL_FRAME.to(strain), torch.eye(3).to(strain))
    matrix = torch.einsum("bk,kij->bij", strain, BASIS.to(strain))
    cell: Tensor = volume[:, None, None] ** (1 / 3) * frame @ torch.linalg.matrix_exp(matrix)
    return cell


def strains(lattice: Tensor, group: Tensor, volume: Tensor) -> Tensor:
    """(B, 6) what ``cells`` makes cells of these parameters (a, b, c, angles in degrees; (B, 6)) from."""
    lengths, cosines = lattice[:, :3], torch.cos(torch.deg2rad(lattice[:, 3:]))
    unit = torch.stack([torch.ones_like(cosines[:, 0])] * 3, 1).diag_embed()
    for k, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
        unit[:, i, j] = unit[:, j, i] = cosines[:, k]
    metric = unit * lengths[:, :, None] * lengths[:, None]
    hexagonal = (crystal_system(group) == _HEXAGONAL)[:, None, None]
    frame = torch.where(hexagonal, _HEXAGONAL_FRAME.to(lattice), torch.eye(3).to(lattice))
    inverse = torch.linalg.inv(volume[:, None, None] ** (1 / 3) * frame)
    values, vectors = torch.linalg.eigh(inverse @ metric @ inverse.transpose(1, 2))
    log = vectors @ (values.log() / 2).diag_embed() @ vectors.transpose(1, 2)
    basis = BASIS.to(lattice)
    found = torch.einsum("bij,kij->bk", log, basis) / (basis**2).sum((1, 2))
    return found * free_strains(group)


def parameters(cell: Tensor) -> np.ndarray:
    """(B, 6) a, b, c (Å), angles (degrees) of cells (B, 3, 3)."""
    lengths = cell.norm(dim=2)
    unit = cell / lengths[..., None]
    cosines = torch.stack([(unit[:, i] * unit[:, j]).sum(1) for i, j in ((1, 2), (0, 2), (0, 1))], 1)
    # a right angle that symmetry demands is one to the last digit
    angles = torch.rad2deg(torch.acos(cosines)).double().round(decimals=8)
    return torch.cat([lengths.double(), angles], 1).cpu().numpy()
