"""States that decay as a whole: what one chunk of a linear RNN hands on to the next."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import HEADS, decay, op


@op(a=decay, linear_in=("s", "h0"), state="h0", sizes=HEADS)
def state_recurrence(
    a: Float[Tensor, "B T H"],
    s: Float[Tensor, "B T H K V"],
    h0: Float[Tensor, "B H K V"] | None = None,
) -> Float[Tensor, "B T H K V"]:
    """``h[t] = a[t] h[t-1] + s[t]``, one decay a step and head; between chunks, T counts chunks."""
    h = torch.zeros_like(s[:, 0]) if h0 is None else h0
    states = []
    for t in range(s.shape[1]):
        h = a[:, t, :, None, None] * h + s[:, t]
        states.append(h)
    return torch.stack(states, dim=1)
