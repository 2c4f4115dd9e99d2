"""A recurrence of states that are matrices, with a dense transition at every step."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, contraction, op


def walk(
    a: Float[Tensor, "B T N N"], b: Float[Tensor, "B T N V"], h0: Float[Tensor, "B N V"] | None
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``, one step at a time: what every structured transition means."""
    h = torch.zeros_like(b[:, 0]) if h0 is None else h0
    states = []
    for t in range(b.shape[1]):
        h = torch.einsum("bij,bjv->biv", a[:, t], h) + b[:, t]
        states.append(h)
    return torch.stack(states, dim=1)


@op(a=contraction, linear_in=("b", "h0"), state="h0", sizes=TRANSITIONS)
def dense_transition(
    a: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]`` with any matrix ``A[t]``."""
    return walk(a, b, h0)
