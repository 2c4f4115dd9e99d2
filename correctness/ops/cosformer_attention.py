"""Linear attention whose weights fall with the cosine of a distance (cosFormer)."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import HEADS, angle, op


@op(angle=angle, linear_in=("v",), sizes=HEADS)
def cosformer_attention(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    angle: Float[Tensor, " T"],
) -> Float[Tensor, "B T H V"]:
    """``o[t] = sum_s<=t w[t,s] v[s] / sum_s<=t w[t,s]``, ``w = relu(q[t]).relu(k[s]) cos(angle[t] - angle[s])``.

    ``angle`` rises from 0 and stays below pi/2, so no weight is negative. A row whose weights are all
    zero gives zero.
    """
    steps = torch.arange(q.shape[1], device=q.device)
    past = steps[None, :] <= steps[:, None]
    scores = torch.einsum("bthk,bshk->bhts", q.relu(), k.relu())
    weights = scores * torch.cos(angle[:, None] - angle[None, :]) * past
    total = weights.sum(dim=-1, keepdim=True)
    weights = weights / torch.where(total == 0, 1.0, total)
    return torch.einsum("bhts,bshv->bthv", weights, v)
