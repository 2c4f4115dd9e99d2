"""A recurrence whose transition is a combination of the matrices that represent a group's elements."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op
from correctness.ops.transitions.dense_transition import walk


def coefficients(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Of absolute sum 0.95; extreme: 1, nearly all of it on one element."""
    draw = torch.randn(shape, generator=rng, dtype=torch.float64)
    if extreme:
        # still not one element alone: the reference itself has to round
        draw = draw**9
    return draw / draw.abs().sum(-1, keepdim=True) * (1.0 if extreme else 0.95)


def signed_permutations(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Matrices with one entry, 1 or -1, in every row and column."""
    orders = torch.rand(shape[:-1], generator=rng, dtype=torch.float64).argsort(-1)
    signs = torch.randint(2, shape[:-1], generator=rng) * 2.0 - 1.0
    return torch.eye(shape[-1], dtype=torch.float64)[orders] * signs[..., None]


@op(
    c=coefficients,
    rho=signed_permutations,
    linear_in=("b", "h0"),
    state="h0",
    sizes=[
        {**dims, "G": elements, "P": block}
        for dims, elements, block in zip(TRANSITIONS, (1, 3, 8, 5, 7), (1, 2, 4, 3, 4), strict=True)
    ],
    refused=({"B": 1, "T": 3, "N": 4, "V": 2, "G": 2, "P": 3},),
)
def group_matrix_transition(
    c: Float[Tensor, "B T G"],
    rho: Float[Tensor, "G P P"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``, ``A = sum over g of c[g] rho[g]``, once for every P coordinates.

    ``A`` is block diagonal: the N / P blocks are the same.
    """
    n, p = b.shape[-2], rho.shape[-1]
    a = torch.zeros(*c.shape[:2], n, n, dtype=b.dtype)
    for first in range(0, n, p):
        for g in range(len(rho)):
            a[..., first : first + p, first : first + p] += c[..., g, None, None] * rho[g]
    return walk(a, b, h0)
