"""Unnormalised causal linear attention: a sum of outer products read by the query."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import HEADS, op


@op(
    linear_in=("v", "h0"),
    state="h0",
    packs=True,
    state_ignores=("q",),
    sizes=HEADS,
    grouped=("q", "k"),
)
def linear_attention(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = S[t-1] + k[t] v[t]^T``, ``o[t] = S[t]^T q[t]``; returns ``o`` and ``S[T]``."""
    batch, length, heads, width = k.shape
    state = k.new_zeros(batch, heads, width, v.shape[-1]) if h0 is None else h0
    outputs = []
    for t in range(length):
        state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state
