"""First-order linear recurrence: the core of diagonal state-space models and gated RNNs."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import CHANNELS, decay, op


@op(a=decay, linear_in=("b", "h0"), state="h0", sizes=CHANNELS)
def linear_recurrence(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """``h[t] = a[t] h[t-1] + b[t]``, one step at a time."""
    h = torch.zeros_like(b[:, 0]) if h0 is None else h0
    states = []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return torch.stack(states, dim=1)
