"""State-space duality: the scalar-decay recurrence of Mamba-2."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import GROUPS, UNEVEN_GROUPS, negative_rate, op, positive_step


@op(
    dt=positive_step,
    a=negative_rate,
    linear_in=("x", "h0"),
    state="h0",
    packs=True,
    state_ignores=("c",),
    sizes=GROUPS,
    refused=UNEVEN_GROUPS,
)
def ssd(
    x: Float[Tensor, "B T H P"],
    dt: Float[Tensor, "B T H"],
    a: Float[Tensor, " H"],
    b: Float[Tensor, "B T G N"],
    c: Float[Tensor, "B T G N"],
    h0: Float[Tensor, "B H N P"] | None = None,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H N P"]]:
    """``S[t] = exp(dt a) S[t-1] + dt b x^T``, ``o[t] = S[t]^T c[t]``; head h reads group ``h G // H``."""
    batch, length, heads, channels = x.shape
    b = b.repeat_interleave(heads // b.shape[2], dim=2)
    c = c.repeat_interleave(heads // c.shape[2], dim=2)
    state = x.new_zeros(batch, heads, b.shape[-1], channels) if h0 is None else h0
    outputs = []
    for t in range(length):
        state = (dt[:, t] * a).exp()[..., None, None] * state
        state = state + torch.einsum("bh,bhn,bhp->bhnp", dt[:, t], b[:, t], x[:, t])
        outputs.append(torch.einsum("bhn,bhnp->bhp", c[:, t], state))
    return torch.stack(outputs, dim=1), state
