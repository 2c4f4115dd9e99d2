"""A recurrence of complex numbers with a diagonal transition, written in real ones."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import decay, op
from correctness.ops.transitions.dense_transition import walk


def spirals(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Real halves, then imaginary halves, of complex decays with any phase."""
    half = (*shape[:-1], shape[-1] // 2)
    size = decay(half, rng, extreme=extreme)
    phase = 2 * math.pi * torch.rand(half, generator=rng, dtype=torch.float64)
    return torch.cat([size * phase.cos(), size * phase.sin()], dim=-1)


@op(
    a=spirals,
    linear_in=("b", "h0"),
    state="h0",
    sizes=(
        {"B": 1, "T": 1, "N": 2, "V": 1},
        {"B": 2, "T": 7, "N": 4, "V": 3},
        {"B": 1, "T": 64, "N": 16, "V": 8},
        {"B": 1, "T": 65, "N": 10, "V": 1},
        {"B": 2, "T": 131, "N": 6, "V": 2},
    ),
    refused=({"B": 1, "T": 7, "N": 3, "V": 2},),
)
def rotation_transition(
    a: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``; coordinates ``i`` and ``i + N/2`` are one complex number.

    On such a pair ``A[t]`` is ``[[c, -s], [s, c]]`` with ``c = a[t][i]`` and ``s = a[t][i + N/2]``.
    """
    c, s = (torch.diag_embed(half) for half in a.chunk(2, dim=-1))
    return walk(torch.cat([torch.cat([c, -s], -1), torch.cat([s, c], -1)], -2), b, h0)
