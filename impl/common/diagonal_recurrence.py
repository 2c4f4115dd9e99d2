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
    # time first: every step then reads and writes one contiguous block
    a, b = (x.transpose(0, 1).contiguous() for x in (a.expand_as(b), b))
    states: Tensor = _DiagonalRecurrence.apply(a, b)  # pyright: ignore[reportAssignmentType]
    return states.transpose(0, 1)


class _DiagonalRecurrence(torch.autograd.Function):
    """Of tensors [T, B, N]."""

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        h = torch.empty_like(b)
        h[0] = b[0]
        for t in range(1, len(b)):
            torch.addcmul(b[t], a[t], h[t - 1], out=h[t])
        return h

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, h = (saved.conj().resolve_conj() for saved in ctx.saved_tensors)
        g = grads[0].clone(memory_format=torch.contiguous_format)
        for t in range(len(g) - 2, -1, -1):
            g[t].addcmul_(a[t + 1], g[t + 1])
        da = torch.zeros_like(a)
        torch.mul(g[1:], h[:-1], out=da[1:])
        return da, g

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Tensor) -> tuple[Tensor, int]:
        """Models trained together lie behind one another in the batch."""
        many = info.batch_size
        a, b = (
            (x[:, None].expand(-1, many, -1, -1) if dim is None else x.movedim(dim, 1)).flatten(
                1, 2
            )
            for x, dim in zip(args, in_dims, strict=True)
        )
        states: Tensor = _DiagonalRecurrence.apply(a.contiguous(), b.contiguous())  # pyright: ignore[reportAssignmentType]
        return states.unflatten(1, (many, -1)), 1
