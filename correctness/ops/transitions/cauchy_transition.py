"""A recurrence whose transition is a diagonal plus a Cauchy-like matrix, named by its generators."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op, unit
from correctness.ops.transitions.dense_transition import walk


def generators(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Rows short enough that the Cauchy part has norm 1/2; extreme: all 1, in the same direction.

    1 / (i - j) and 1 / (i - j + 1/2) have norms of at most pi, and Schur's bound multiplies that by
    the longest row on either side.
    """
    rows = unit(shape, rng, extreme=extreme)
    return rows * ((1.0 if extreme else 0.5) / math.pi) ** 0.5


def diagonal(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Within 1/2 of zero; extreme: next to nothing, so that the Cauchy part is all there is."""
    draw = torch.rand(shape, generator=rng, dtype=torch.float64) - 0.5
    return draw * (1e-3 if extreme else 1.0)


def rows(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Halfway between the columns' nodes; extreme: on them."""
    return torch.arange(shape[0], dtype=torch.float64) + (0.0 if extreme else 0.5)


def columns(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """0, 1, 2, ..."""
    return torch.arange(shape[0], dtype=torch.float64)


@op(
    g=generators,
    f=generators,
    d=diagonal,
    r=rows,
    c=columns,
    linear_in=("b", "h0"),
    state="h0",
    sizes=[{**dims, "R": rank} for dims, rank in zip(TRANSITIONS, (1, 2, 4, 3, 5), strict=True)],
)
def cauchy_transition(
    g: Float[Tensor, "B T N R"],
    f: Float[Tensor, "B T N R"],
    d: Float[Tensor, "B T N"],
    r: Float[Tensor, " N"],
    c: Float[Tensor, " N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``, ``A[i, j] = (g[i] . f[j]) / (r[i] - c[j])``, plus ``d``.

    Where nodes coincide the quotient is left out.
    """
    n = len(r)
    entries = []
    for i in range(n):
        for j in range(n):
            entry = d[..., i] if i == j else torch.zeros_like(d[..., 0])
            if r[i] != c[j]:
                entry = entry + (g[..., i, :] * f[..., j, :]).sum(-1) / (r[i] - c[j])
            entries.append(entry)
    return walk(torch.stack(entries, dim=-1).unflatten(-1, (n, n)), b, h0)
