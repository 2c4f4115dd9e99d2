"""Pair recurrence for training on a CPU: two by two matrices, a plain loop either way.

    h[t] = M[t] h[t-1] + b[t],   g[t] = dh[t] + M[t+1]^T g[t+1],   dM[t] = g[t] h[t-1]^T

for every channel by itself. The two coordinates lie in blocks of their own, so that a step is two
multiply-adds of whole blocks; the adjoint is walked by hand, without a graph of T nodes.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def pair_recurrence(
    m: Float[Tensor, "B T 2 2 D"], b: Float[Tensor, "B T 2 D"]
) -> Float[Tensor, "B T 2 D"]:
    """``h[t, i] = sum_j m[t, i, j] h[t-1, j] + b[t, i]`` from zeros; ``m`` may broadcast over B, T."""
    # time first, then the coordinates: every step then reads and writes whole blocks
    m = m.expand(*b.shape[:2], *m.shape[2:]).permute(1, 2, 3, 0, 4).contiguous()
    states: Tensor = _PairRecurrence.apply(m, b.permute(1, 2, 0, 3).contiguous())  # pyright: ignore[reportAssignmentType]
    return states.permute(2, 0, 1, 3)


class _PairRecurrence(torch.autograd.Function):
    """Of matrices [T, 2, 2, B, D] and states [T, 2, B, D]."""

    @staticmethod
    def forward(m: Tensor, b: Tensor) -> Tensor:
        h = b.clone(memory_format=torch.contiguous_format)
        for t in range(1, len(h)):
            _act(m[t], h[t - 1], h[t])
        return h

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        m, h = ctx.saved_tensors
        across = m.transpose(1, 2).contiguous()
        g = grads[0].clone(memory_format=torch.contiguous_format)
        for t in range(len(g) - 2, -1, -1):
            _act(across[t + 1], g[t + 1], g[t])
        dm = torch.zeros_like(m)
        torch.mul(g[1:, :, None], h[:-1, None], out=dm[1:])
        return dm, g

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Tensor) -> tuple[Tensor, int]:
        """Models trained together lie behind one another in the batch."""
        many = info.batch_size
        m, b = (
            x[..., None, :, :].expand(*x.shape[:-2], many, *x.shape[-2:])
            if dim is None
            else x.movedim(dim, -3)
            for x, dim in zip(args, in_dims, strict=True)
        )
        states: Tensor = _PairRecurrence.apply(  # pyright: ignore[reportAssignmentType]
            m.flatten(-3, -2).contiguous(), b.flatten(-3, -2).contiguous()
        )
        return states.unflatten(-2, (many, -1)), 2


def _act(m: Tensor, h: Tensor, onto: Tensor) -> None:
    """``onto += m h``, in place."""
    onto.addcmul_(m[:, 0], h[0]).addcmul_(m[:, 1], h[1])
