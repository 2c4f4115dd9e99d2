"""The delta rule: each step corrects what the state recalls for its key."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import WIDE_HEADS, op, rate, unit


@op(
    k=unit,
    beta=rate,
    linear_in=("v", "h0"),
    state="h0",
    packs=True,
    state_ignores=("q",),
    grouped=("q", "k"),
    sizes=WIDE_HEADS,
)
def delta_rule(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o[t] = S[t]^T q[t]``, for keys of length one."""
    batch, length, heads, width = k.shape
    state = k.new_zeros(batch, heads, width, v.shape[-1]) if h0 is None else h0
    outputs = []
    for t in range(length):
        wrong = v[:, t] - torch.einsum("bhk,bhkv->bhv", k[:, t], state)
        state = state + torch.einsum("bh,bhk,bhv->bhkv", beta[:, t], k[:, t], wrong)
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state
