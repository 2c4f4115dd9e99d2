"""The delta rule on a state whose key channels first decay, each by its own gate (KDA)."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import HEADS, log_decay, op, rate, unit


@op(
    k=unit,
    beta=rate,
    g=log_decay,
    linear_in=("v", "h0"),
    state="h0",
    packs=True,
    state_ignores=("q",),
    grouped=("q", "k"),
    sizes=HEADS,
)
def channel_gated_delta_rule(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S' = exp(g)[:, None] * S[t-1]``, ``S[t] = S' + beta k (v - S'^T k)^T``, ``o = S^T q``, ``g <= 0``."""
    batch, length, heads, width = k.shape
    state = k.new_zeros(batch, heads, width, v.shape[-1]) if h0 is None else h0
    outputs = []
    for t in range(length):
        state = g[:, t].exp()[..., None] * state
        wrong = v[:, t] - torch.einsum("bhk,bhkv->bhv", k[:, t], state)
        state = state + torch.einsum("bh,bhk,bhv->bhkv", beta[:, t], k[:, t], wrong)
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state
