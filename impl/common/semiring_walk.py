"""Recurrences whose sum is a log-sum-exp or a maximum, for training on a CPU: a loop either way.

    h[t] = join(a[t] + h[t-1], b[t]),   g[t] = dh[t] + w[t+1] g[t+1],   da = w g,   db = (1 - w) g

with w the share of the past in the join: exp(a[t] + h[t-1] - h[t]), or 1 where the past is larger and
1/2 where both are equal. The adjoint is a diagonal recurrence, walked by hand.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def semiring_walk(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None,
    *,
    hard: bool,
) -> Float[Tensor, "B T D"]:
    """All states, the first of them ``b[0]`` where there is no ``h0``; ``hard`` joins by a maximum."""
    if h0 is not None:
        first = join(a[:, 0] + h0, b[:, 0], hard=hard)
        b = torch.cat([first[:, None], b[:, 1:]], dim=1)
    # time first: every step then reads and writes one contiguous block
    a, b = a.transpose(0, 1).contiguous(), b.transpose(0, 1).contiguous()
    states: Tensor = _Walk.apply(a, b, hard)  # pyright: ignore[reportAssignmentType]
    return states.transpose(0, 1)


def join(one: Tensor, other: Tensor, *, hard: bool) -> Tensor:
    """The semiring's sum."""
    return torch.maximum(one, other) if hard else torch.logaddexp(one, other)


class _Walk(torch.autograd.Function):
    """Of tensors [T, B, D]."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, hard: bool) -> Tensor:  # noqa: FBT001
        h = torch.empty_like(b)
        h[0] = b[0]
        out = torch.maximum if hard else torch.logaddexp
        for t in range(1, len(b)):
            out(a[t] + h[t - 1], b[t], out=h[t])
        return h

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, bool], output: Tensor) -> None:
        a, b, ctx.hard = inputs
        ctx.save_for_backward(a, b, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b, h = ctx.saved_tensors
        kept, written = torch.zeros_like(h), torch.ones_like(h)
        past = a[1:] + h[:-1]
        if ctx.hard:
            kept[1:] = torch.heaviside(past - b[1:], past.new_tensor(0.5))
            written -= kept
        else:
            # each by itself, for 1 - w would cancel
            kept[1:], written[1:] = (past - h[1:]).exp(), (b[1:] - h[1:]).exp()
        g = grads[0].clone(memory_format=torch.contiguous_format)
        for t in range(len(g) - 2, -1, -1):
            g[t].addcmul_(kept[t + 1], g[t + 1])
        return kept * g, written * g, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        """Models trained together lie behind one another in the batch."""
        many = info.batch_size
        *tensors, hard = args
        a, b = (
            x[:, None].expand(-1, many, -1, -1) if dim is None else x.movedim(dim, 1)
            for x, dim in zip(tensors, in_dims[:2], strict=True)
        )
        states: Tensor = _Walk.apply(  # pyright: ignore[reportAssignmentType]
            a.flatten(1, 2).contiguous(), b.flatten(1, 2).contiguous(), hard
        )
        return states.unflatten(1, (many, -1)), 1
