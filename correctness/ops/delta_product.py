"""DeltaProduct: several delta rules a token, one behind another, read after the last."""

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
    sizes=[{**dims, "R": r} for dims, r in zip(WIDE_HEADS, (2, 4, 1, 3, 2), strict=True)],
)
def delta_product(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T R H K"],
    v: Float[Tensor, "B T R H V"],
    beta: Float[Tensor, "B T R H"],
    h0: Float[Tensor, "B H K V"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """R steps ``S <- (I - beta[j] k[j] k[j]^T) S + beta[j] k[j] v[j]^T`` a token, ``o[t] = S[t]^T q[t]``.

    For keys of length one. Returns ``o`` and ``S[T]``.
    """
    batch, length, steps, heads, width = k.shape
    state = k.new_zeros(batch, heads, width, v.shape[-1]) if h0 is None else h0
    outputs = []
    for t in range(length):
        for j in range(steps):
            wrong = v[:, t, j] - torch.einsum("bhk,bhkv->bhv", k[:, t, j], state)
            state = state + torch.einsum("bh,bhk,bhv->bhkv", beta[:, t, j], k[:, t, j], wrong)
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state
