"""A recurrence whose transition is the Cayley transform of a skew-circulant, skew-symmetric matrix."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op
from correctness.ops.transitions.cayley_transition import cayley
from correctness.ops.transitions.dense_transition import walk


def tangents(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Columns of which some turn by nearly nothing and some by about half a circle.

    Extreme: ten times as large, so that most turns are nearly half a circle.
    """
    draw = torch.randn(shape, generator=rng, dtype=torch.float64)
    return draw * (10.0 if extreme else 1.0) / (2 * shape[-1]) ** 0.5


def skew_circulant(c: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch N N"]:
    """``S[i, j] = c[i - j]`` on and below the diagonal, ``-c[i - j + N]`` above it."""
    n = c.shape[-1]
    lag = torch.arange(n)[:, None] - torch.arange(n)
    wrapped = torch.where(lag < 0, -1.0, 1.0).to(c.dtype)
    return c[..., lag % n] * wrapped


@op(c=tangents, linear_in=("b", "h0"), state="h0", sizes=TRANSITIONS)
def cayley_circulant_transition(
    c: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``, ``A = (I - S) (I + S)^-1``, ``S = C - C^T``, ``C`` of ``c``."""
    s = skew_circulant(c)
    return walk(cayley(s - s.mT), b, h0)
