"""Linear layers of frozen networks by oneDNN.

torch multiplies float32 matrices by MKL, which on AMD processors leaves AVX-512 unused: 90 GFLOP/s a core
against oneDNN's 200 for the tall, narrow matrices of graph networks. torch itself goes to oneDNN in float32
only from compiled code, through the operator that is called here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

_Context: TypeAlias = Any  # torch's


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` with the gradient by ``x`` alone: the weights are constants.

    Args:
        x: (rows, inputs).
        weight: (outputs, inputs).
        bias: (outputs,).
    """
    import torch

    if x.device.type != "cpu" or x.dtype != torch.float32 or not torch._C._has_mkldnn:  # noqa: SLF001
        return torch.nn.functional.linear(x, weight, bias)
    product: Tensor = _function().apply(x, weight, bias)
    return product


@lru_cache
def _function() -> Any:  # noqa: ANN401 (torch is imported late)
    import torch

    multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 (the only way to it)

    class Linear(torch.autograd.Function):
        @staticmethod
        def forward(context: _Context, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            context.weight = weight
            product: Tensor = multiply(x, weight, bias, "none", [], "")
            return product

        @staticmethod
        def backward(context: _Context, *slopes: Tensor) -> tuple[Tensor, None, None]:
            turned = context.weight.T.contiguous()
            return multiply(slopes[0].contiguous(), turned, None, "none", [], ""), None, None

    return Linear
