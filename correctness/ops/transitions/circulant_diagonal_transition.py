"""A recurrence whose transition is a circulant matrix between two diagonal ones."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op
from correctness.ops.transitions.circulant_transition import filters
from correctness.ops.transitions.dense_transition import walk
from correctness.ops.transitions.diagonal_transition import signed_decay


@op(
    d=signed_decay,
    c=filters,
    e=signed_decay,
    linear_in=("b", "h0"),
    state="h0",
    sizes=TRANSITIONS,
)
def circulant_diagonal_transition(
    d: Float[Tensor, "B T N"],
    c: Float[Tensor, "B T N"],
    e: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]`` with ``A[t][i, j] = d[t][i] c[t][(i - j) mod N] e[t][j]``."""
    n = torch.arange(c.shape[-1])
    a = torch.einsum("bti,btij,btj->btij", d, c[..., (n[:, None] - n) % len(n)], e)
    return walk(a, b, h0)
