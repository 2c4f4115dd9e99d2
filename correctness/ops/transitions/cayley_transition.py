"""A recurrence whose transition is the Cayley transform of a matrix, orthogonal when that is skew."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op
from correctness.ops.transitions.dense_transition import walk


def cayley(s: Float[Tensor, "*batch N N"]) -> Float[Tensor, "*batch N N"]:
    """``(I + S)^-1 (I - S)`` by elimination without pivots: for skew S all are at least 1."""
    n = s.shape[-1]
    identity = torch.eye(n, dtype=s.dtype, device=s.device).expand_as(s)
    table = torch.cat([identity + s, identity - s], dim=-1)
    for i in range(n):
        row = table[..., i, :] / table[..., i, i, None]
        rest = table - table[..., :, i, None] * row[..., None, :]
        table = torch.cat([rest[..., :i, :], row[..., None, :], rest[..., i + 1 :, :]], dim=-2)
    return table[..., n:]


def skew(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Skew matrices with singular values up to about 1; extreme: ten times as large, close to -I."""
    draw = torch.randn(shape, generator=rng, dtype=torch.float64)
    return (draw - draw.mT) * (10.0 if extreme else 1.0) / (8 * shape[-1]) ** 0.5


@op(s=skew, linear_in=("b", "h0"), state="h0", sizes=TRANSITIONS)
def cayley_transition(
    s: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]`` with ``A[t] = (I - s[t]) (I + s[t])^-1``."""
    return walk(cayley(s), b, h0)
