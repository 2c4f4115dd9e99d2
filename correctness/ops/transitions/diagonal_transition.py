"""A recurrence in which every coordinate of the state keeps to itself."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, decay, op
from correctness.ops.transitions.dense_transition import walk


def signed_decay(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Factors in (-1, 1), crowded towards both ends; extreme: forgotten, almost kept, or flipped."""
    size = decay(shape, rng, extreme=extreme)
    return size * (2.0 * torch.randint(2, shape, generator=rng) - 1.0)


@op(a=signed_decay, linear_in=("b", "h0"), state="h0", sizes=TRANSITIONS)
def diagonal_transition(
    a: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]`` with ``A[t][i, i] = a[t][i]`` and zeros elsewhere."""
    return walk(torch.diag_embed(a), b, h0)
