"""A recurrence whose transition is a decay by channel less a removal under a unit key."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, decay, op, rate, unit
from correctness.ops.transitions.dense_transition import walk


@op(w=decay, a=rate, k=unit, linear_in=("b", "h0"), state="h0", sizes=TRANSITIONS)
def rwkv_transition(
    w: Float[Tensor, "B T N"],
    a: Float[Tensor, "B T N"],
    k: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``, ``A[i, j] = -a[i] k[i] k[j]``, plus ``w[i]`` where i = j."""
    n = k.shape[-1]
    entries = [
        (w[..., i] if i == j else 0.0) - a[..., i] * k[..., i] * k[..., j]
        for i in range(n)
        for j in range(n)
    ]
    return walk(torch.stack(entries, dim=-1).unflatten(-1, (n, n)), b, h0)
