"""Sequential delta rule: reads what the state recalls for a key, and writes the correction.

    u[t] = beta[t] (v[t] - S[t-1]^T k[t])
    S[t] = S[t-1] + k[t] u[t]^T,   o[t] = S[t]^T q[t]

3 K V multiply-adds a step, the least there is, in T dependent steps of matrix-vector size. Every
chunkwise form does more work to have fewer and larger products.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.common.chunks import accumulation_dtype
from impl.common.heads import repeat_heads
from impl.registry import implements


@implements(
    "delta_rule",
    source="B. Widrow and M. E. Hoff, IRE WESCON 1960; I. Schlag et al., ICML 2021, arXiv:2102.11174",
    trick="delta-rule-deltanet",
)
def sequential(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o = S^T q``; state in at least float32."""
    axis_sizes(sequential, q, k, v, beta, h0)
    return _loop(q, k, v, beta, None, h0)


@implements(
    "gated_delta_rule",
    source="S. Yang, J. Kautz and A. Hatamizadeh, ICLR 2025, arXiv:2412.06464",
    trick="gated-deltanet",
)
def gated(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    g: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S' = exp(g) S[t-1]``, then the delta rule on ``S'``; state in at least float32."""
    axis_sizes(gated, q, k, v, beta, g, h0)
    return _loop(q, k, v, beta, g, h0)


def _loop(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor | None, h0: Tensor | None
) -> tuple[Tensor, Tensor]:
    wide = accumulation_dtype(v)
    q, k = (repeat_heads(x, v.shape[2]) for x in (q, k))
    shape = (*k[:, 0].shape, v.shape[-1])
    state = v.new_zeros(shape, dtype=wide) if h0 is None else h0.to(wide)
    decay = None if g is None else g.to(wide).exp()[..., None, None]
    rows, columns, beta = q[:, :, :, None].to(wide), k[..., None].to(wide), beta[..., None, None]
    values, reads = v[:, :, :, None].to(wide), []
    for t in range(v.shape[1]):
        if decay is not None:
            state = decay[:, t] * state
        key = columns[:, t]  # [B, H, K, 1]
        state = state + key @ (beta[:, t] * (values[:, t] - key.mT @ state))
        reads.append(rows[:, t] @ state)
    return torch.cat(reads, dim=2).transpose(1, 2).to(v.dtype), state.to(v.dtype)
