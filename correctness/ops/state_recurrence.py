"""States that decay as a whole: what one chunk of a linear RNN hands on to the next."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import decay, op


@op(
    a=decay,
    linear_in=("s", "h0"),
    state="h0",
    sizes=(
        {"B": 1, "T": 1, "H": 1, "D": 256},
        {"B": 2, "T": 7, "H": 2, "D": 15},
        {"B": 1, "T": 64, "H": 1, "D": 32},
        {"B": 1, "T": 65, "H": 2, "D": 129},
        {"B": 1, "T": 131, "H": 1, "D": 530},
    ),
)
def state_recurrence(
    a: Float[Tensor, "B T H"],
    s: Float[Tensor, "B T H D"],
    h0: Float[Tensor, "B H D"] | None = None,
) -> Float[Tensor, "B T H D"]:
    """``h[t] = a[t] h[t-1] + s[t]``, a decay a step and head; between chunks T counts chunks, D is K V."""
    h = torch.zeros_like(s[:, 0]) if h0 is None else h0
    states = []
    for t in range(s.shape[1]):
        h = a[:, t, :, None] * h + s[:, t]
        states.append(h)
    return torch.stack(states, dim=1)
