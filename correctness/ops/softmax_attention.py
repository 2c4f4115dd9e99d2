"""Causal softmax attention, the baseline that every linear model wants to replace."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import HEADS, op


@op(linear_in=("v",), sizes=HEADS)
def softmax_attention(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
) -> Float[Tensor, "B T H V"]:
    """``o[t] = sum_s<=t softmax_s(q[t] . k[s] / sqrt(K)) v[s]``, the whole matrix of weights at once."""
    steps = torch.arange(q.shape[1], device=q.device)
    future = steps[None, :] > steps[:, None]
    scores = torch.einsum("bthk,bshk->bhts", q, k) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
    return torch.einsum("bhts,bshv->bthv", weights, v)
