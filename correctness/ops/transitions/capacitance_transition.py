"""A recurrence whose transition is the inverse of a diagonal plus a matrix of low rank."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import op
from correctness.ops.transitions.dense_transition import walk


def resistance(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """What a coordinate divides itself by, 1.05 to 3; extreme: 1.01, or 100, which forgets."""
    if extreme:
        return torch.where(torch.rand(shape, generator=rng, dtype=torch.float64) < 0.5, 1.01, 100.0)
    return 1.05 + 1.95 * torch.rand(shape, generator=rng, dtype=torch.float64)


def coupling(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Columns that are short beside the diagonal, so that the sum stays far from singular."""
    draw = torch.randn(shape, generator=rng, dtype=torch.float64)
    return (0.09 if extreme else 0.2) * draw / torch.linalg.matrix_norm(draw)


def inverse(a: Float[Tensor, "*batch N N"]) -> Float[Tensor, "*batch N N"]:
    """``A^-1`` by elimination without pivots: the diagonal outweighs the rest."""
    n = a.shape[-1]
    identity = torch.eye(n, dtype=a.dtype, device=a.device).expand_as(a)
    table = torch.cat([a, identity], dim=-1)
    for i in range(n):
        row = table[..., i, :] / table[..., i, i, None]
        rest = table - table[..., :, i, None] * row[..., None, :]
        table = torch.cat([rest[..., :i, :], row[..., None, :], rest[..., i + 1 :, :]], dim=-2)
    return table[..., n:]


@op(
    d=resistance,
    p=coupling,
    q=coupling,
    linear_in=("b", "h0"),
    state="h0",
    sizes=(
        {"B": 1, "T": 1, "N": 1, "R": 1, "V": 1},
        {"B": 2, "T": 7, "N": 4, "R": 2, "V": 3},
        {"B": 1, "T": 64, "N": 16, "R": 4, "V": 8},
        {"B": 1, "T": 65, "N": 9, "R": 3, "V": 1},
        {"B": 2, "T": 131, "N": 4, "R": 1, "V": 2},
    ),
)
def capacitance_transition(
    d: Float[Tensor, "B T N"],
    p: Float[Tensor, "N R"],
    q: Float[Tensor, "N R"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``(diag(d[t]) + p q^T) h[t] = h[t-1]``, and then ``b[t]`` is added."""
    return walk(inverse(torch.diag_embed(d) + p @ q.mT), b, h0)
