"""A recurrence whose transition is a Cayley transform with four terms of a series for its inverse."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op
from correctness.ops.transitions.cayley_transition import skew
from correctness.ops.transitions.dense_transition import walk

TERMS = 4
"""As many as the proposal thinks enough."""


def contracting_skew(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Skew matrices of norm 1/2; extreme: of norm 1, the largest at which the series is bounded."""
    draw = skew(shape, rng, extreme=False)
    norm = torch.linalg.matrix_norm(draw, ord=2, keepdim=True).clamp_min(1e-12)
    return draw / norm * (1.0 if extreme else 0.5)


@op(s=contracting_skew, linear_in=("b", "h0"), state="h0", sizes=TRANSITIONS)
def neumann_cayley_transition(
    s: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``, ``A = (I - s) (I - s + s^2 - s^3)``."""
    identity = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device).expand_as(s)
    power, series = identity, identity
    for _ in range(TERMS - 1):
        power = -(s @ power)
        series = series + power
    return walk((identity - s) @ series, b, h0)
