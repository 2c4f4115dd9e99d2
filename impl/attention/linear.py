"""Linear attention in chunks: a masked square inside a chunk, one state between chunks.

With the steps cut into T / C chunks of C, and S the state before the chunk,

    O = (Q K^T * M) V + Q S,   S' = S + K^T V,   M[t, s] = 1 where s <= t.

T (C (K + V) / 2 + 2 K V) multiply-adds where the recurrence needs 2 T K V, but as matrix products,
and the states of all chunks from one cumulative sum. The whole square at once, C = T, is quadratic;
C = 1 is the recurrence. It pays T / C states of K V elements a head, kept for the backward pass.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.common.chunks import cut, join
from impl.registry import implements


@implements(
    "linear_attention",
    source="W. Hua, Z. Dai, H. Liu and Q. Le, ICML 2022, arXiv:2202.10447",
    trick="chunkwise-parallel-scan",
    knobs={"chunk": (16, 64, 128)},
)
def linear(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = S[t-1] + k[t] v[t]^T``, ``o[t] = S[t]^T q[t]``; float32 inside for half inputs."""
    length = axis_sizes(linear, q, k, v, h0)["T"]
    query, key, value = (cut(x, chunk) for x in (q, k, v))
    written = key.mT @ value  # [B, H, N, K, V]
    start = torch.zeros_like(written[:, :, :1]) if h0 is None else h0[:, :, None]
    states = torch.cat([start, written], dim=2).cumsum(dim=2)
    o = (query @ key.mT).tril() @ value + query @ states[:, :, :-1]
    return join(o, length).to(v.dtype), states[:, :, -1].to(v.dtype)
