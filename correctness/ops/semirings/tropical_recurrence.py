"""A recurrence in the tropical semiring: sums are maxima, products are sums."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import CHANNELS, log_decay, op


@op(a=log_decay, state="h0", sizes=CHANNELS)
def tropical_recurrence(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """``h[t] = max(a[t] + h[t-1], b[t])``; without ``h0`` the first state is ``b[0]``."""
    h, states = h0, []
    for t in range(b.shape[1]):
        h = b[:, t] if h is None else torch.maximum(a[:, t] + h, b[:, t])
        states.append(h)
    return torch.stack(states, dim=1)
