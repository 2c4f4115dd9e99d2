"""A recurrence whose transition routes what a diagonal plus a low-rank matrix made of the state."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op
from correctness.ops.transitions.dense_transition import walk


def routes(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """One 1 in every column, in any row; extreme: nearly all in one row."""
    n = shape[-1]
    targets = torch.randint(n, (*shape[:-2], n), generator=rng)
    if extreme:
        keep = torch.rand((*shape[:-2], n), generator=rng) < 1 / n
        targets = torch.where(keep, targets, 0)
    return torch.eye(n, dtype=torch.float64)[targets].mT.contiguous()


def diagonal(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Within 1/2 of zero; extreme: next to nothing, so that the low rank is all there is."""
    draw = torch.rand(shape, generator=rng, dtype=torch.float64) - 0.5
    return draw * (1e-3 if extreme else 1.0)


def factors(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Factors whose product has norm at most 1/2; extreme: at most 1."""
    draw = torch.randn(shape, generator=rng, dtype=torch.float64)
    size = (1.0 if extreme else 0.5) ** 0.5
    return draw * size / torch.linalg.matrix_norm(draw, keepdim=True)


@op(
    p=routes,
    d=diagonal,
    u=factors,
    v=factors,
    linear_in=("b", "h0"),
    state="h0",
    sizes=[{**dims, "R": rank} for dims, rank in zip(TRANSITIONS, (1, 2, 3, 2, 1), strict=True)],
)
def dplr_column_sparse_transition(
    p: Float[Tensor, "B T N N"],
    d: Float[Tensor, "B T N"],
    u: Float[Tensor, "B T N R"],
    v: Float[Tensor, "B T N R"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = P[t] (diag(d[t]) + u[t] v[t]^T) h[t-1] + b[t]``."""
    n = d.shape[-1]
    entries = []
    for i in range(n):
        for j in range(n):
            entry = p[..., i, j] * d[..., j]
            for k in range(n):
                entry = entry + p[..., i, k] * (u[..., k, :] * v[..., j, :]).sum(-1)
            entries.append(entry)
    return walk(torch.stack(entries, dim=-1).unflatten(-1, (n, n)), b, h0)
