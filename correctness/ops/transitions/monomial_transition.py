"""A recurrence whose transition shuffles the rows of a grid, then its columns, and scales."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import op
from correctness.ops.transitions.column_sparse_transition import scales
from correctness.ops.transitions.dense_transition import walk
from correctness.ops.transitions.monarch_transition import SIZES, shuffle


def orders(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """G lines, each the numbers 0 to G - 1 in any order; extreme: mostly as they stand."""
    drawn = torch.rand(shape, generator=rng).argsort(dim=-1)
    if extreme:
        often = torch.rand(shape[:-2], generator=rng)[..., None, None] < 0.9
        return torch.where(often, torch.arange(shape[-1]), drawn).double()
    return drawn.double()


def block_permutation(x: Float[Tensor, "B T G G"]) -> Float[Tensor, "B T N N"]:
    """The matrix that sends place ``(g, j)`` of a grid to ``(g, x[g, j])``."""
    size = x.shape[-1]
    n = torch.arange(size**2)
    to = size * (n // size) + x.round().flatten(-2)
    return torch.where(n[:, None] == to[..., None, :], 1.0, 0.0 * to[..., None, :])


@op(
    l=orders,
    r=orders,
    d=scales,
    linear_in=("b", "h0"),
    state="h0",
    sizes=SIZES,
    refused=({"B": 1, "T": 3, "N": 6, "G": 2, "V": 1},),
)
def monomial_transition(
    l: Float[Tensor, "B T G G"],
    r: Float[Tensor, "B T G G"],
    d: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = P L[t] P^T R[t] D[t] h[t-1] + b[t]`` with permutations ``L`` and ``R`` of G blocks.

    ``l`` and ``r``, being discrete, have gradients of zero.
    """
    p = shuffle(r.shape[-1]).to(d)
    a = p @ block_permutation(l).to(d) @ p.T @ block_permutation(r).to(d)
    return walk(a * d[..., None, :], b, h0)
