"""A recurrence whose transition is a Monarch matrix: blocks on the rows of a grid, then on its columns."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import op
from correctness.ops.transitions.dense_transition import walk

SIZES = (
    {"B": 1, "T": 1, "N": 1, "G": 1, "V": 1},
    {"B": 2, "T": 7, "N": 4, "G": 2, "V": 3},
    {"B": 1, "T": 64, "N": 16, "G": 4, "V": 8},
    {"B": 1, "T": 65, "N": 9, "G": 3, "V": 1},
    {"B": 2, "T": 131, "N": 4, "G": 2, "V": 2},
)


def blocks(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """G blocks of G x G, row behind row, two of which make a matrix that neither explodes nor vanishes.

    Normal entries, so that one of A has variance 0.9 / N; extreme: rotations.
    """
    draw = torch.randn(shape, generator=rng, dtype=torch.float64)
    if extreme:
        grid = draw.unflatten(-2, (shape[-1], shape[-1]))
        return torch.linalg.qr(grid)[0].flatten(-3, -2)
    return draw * (0.9 / shape[-2]) ** 0.25


def block_diagonal(x: Float[Tensor, "B T N G"]) -> Float[Tensor, "B T N N"]:
    """The matrix whose row n has ``x[n]`` in the columns of its own block, and zeros elsewhere."""
    size = x.shape[-1]
    n = torch.arange(x.shape[-2])
    inside = n[:, None] // size == n // size
    return torch.where(inside, x[..., n % size], 0.0)


def shuffle(size: int) -> Tensor:
    """The permutation matrix that transposes a grid of ``size`` rows and columns."""
    order = torch.arange(size**2).reshape(size, size).T.flatten()
    return torch.eye(size**2, dtype=torch.float64)[order]


@op(
    l=blocks,
    r=blocks,
    linear_in=("b", "h0"),
    state="h0",
    sizes=SIZES,
    refused=({"B": 1, "T": 3, "N": 6, "G": 2, "V": 1},),
)
def monarch_transition(
    l: Float[Tensor, "B T N G"],
    r: Float[Tensor, "B T N G"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = P L[t] P^T R[t] h[t-1] + b[t]`` with ``N = G^2`` and block-diagonal ``L``, ``R``."""
    p = shuffle(r.shape[-1]).to(r)
    return walk(p @ block_diagonal(l) @ p.T @ block_diagonal(r), b, h0)
