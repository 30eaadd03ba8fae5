"""3x3 matrices by kind of component; products of matrices whose entries are long rows, with derivatives.

Matrices are (3, 3, n): torch's own batched product of n such small matrices costs ten times more.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_Context: TypeAlias = Any  # torch's


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


def anticommutator(a: Tensor, b: Tensor) -> Tensor:
    """Compute ``a b + b a``, (3, 3, n)."""
    product: Tensor = _functions()[0].apply(a, b)
    return product


def square(a: Tensor) -> Tensor:
    """Compute ``a a``, (3, 3, n)."""
    product: Tensor = _functions()[1].apply(a)
    return product


def _add_product(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add ``a b`` to ``out``; rows of ``b`` are taken whole."""
    for i in range(3):
        for j in range(3):
            out[i].addcmul_(a[i, j], b[j])
    return out


@lru_cache
def _functions() -> tuple[Any, Any]:
    """Define the two autograd functions (torch is imported late)."""
    import torch

    class Anticommutator(torch.autograd.Function):
        @staticmethod
        def forward(context: _Context, a: Tensor, b: Tensor) -> Tensor:
            context.save_for_backward(a, b)
            return _add_product(_add_product(torch.zeros_like(a), a, b), b, a)

        @staticmethod
        def backward(context: _Context, *gradients: Tensor) -> tuple[Tensor, Tensor]:
            a, b = (matrix.transpose(0, 1) for matrix in context.saved_tensors)
            (g,) = gradients
            return (
                _add_product(_add_product(torch.zeros_like(g), g, b), b, g),
                _add_product(_add_product(torch.zeros_like(g), g, a), a, g),
            )

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(context: _Context, a: Tensor) -> Tensor:
            context.save_for_backward(a)
            return _add_product(torch.zeros_like(a), a, a)

        @staticmethod
        def backward(context: _Context, *gradients: Tensor) -> Tensor:
            (a,) = context.saved_tensors
            (g,) = gradients
            transposed = a.transpose(0, 1)
            return _add_product(_add_product(torch.zeros_like(g), g, transposed), transposed, g)

    return Anticommutator, Square
