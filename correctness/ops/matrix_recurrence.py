"""Linear recurrence with a dense transition matrix at every step."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import MATRICES, contraction, op


@op(a=contraction, linear_in=("b", "h0"), state="h0", sizes=MATRICES)
def matrix_recurrence(
    a: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N"],
    h0: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B T N"]:
    """``h[t] = A[t] h[t-1] + b[t]``, one step at a time."""
    h = torch.zeros_like(b[:, 0]) if h0 is None else h0
    states = []
    for t in range(b.shape[1]):
        h = torch.einsum("bij,bj->bi", a[:, t], h) + b[:, t]
        states.append(h)
    return torch.stack(states, dim=1)
