"""Diagonal recurrence for training on a CPU: a plain loop whose backward is a plain loop.

    h[t] = a[t] * h[t-1] + b[t],   h[-1] = 0

Writing the adjoint g[t] = dh[t] + conj(a[t+1]) g[t+1] by hand, with one product for
da[t] = g[t] conj(h[t-1]) at the end, avoids a graph of T nodes; on one core both loops beat a
log-depth scan, which does log T times the work. Real and complex tensors alike.
"""

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor


def diagonal_recurrence(
    a: Shaped[Tensor, "B T N"], b: Shaped[Tensor, "B T N"]
) -> Shaped[Tensor, "B T N"]:
    """``h[t] = a[t] h[t-1] + b[t]`` from a state of zeros; ``a`` may broadcast against ``b``."""
    states: Tensor = _DiagonalRecurrence.apply(a.expand_as(b), b)  # pyright: ignore[reportAssignmentType]
    return states


class _DiagonalRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        # time first: every step then reads and writes one contiguous block
        a, b = a.transpose(0, 1).contiguous(), b.transpose(0, 1).contiguous()
        h = torch.empty_like(b)
        h[0] = b[0]
        for t in range(1, len(b)):
            torch.addcmul(b[t], a[t], h[t - 1], out=h[t])
        ctx.save_for_backward(a, h)
        return h.transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, h = ctx.saved_tensors
        a, h = a.conj().resolve_conj(), h.conj().resolve_conj()
        g = grads[0].transpose(0, 1).clone(memory_format=torch.contiguous_format)
        for t in range(len(g) - 2, -1, -1):
            g[t].addcmul_(a[t + 1], g[t + 1])
        da = torch.zeros_like(a)
        torch.mul(g[1:], h[:-1], out=da[1:])
        return da.transpose(0, 1), g.transpose(0, 1)
