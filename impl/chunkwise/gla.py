"""Gated linear attention with secondary chunking: a decay for each key channel, without overflow.

    S[t] = exp(g[t])[:, None] S[t-1] + k[t] v[t]^T,   o[t] = S[t]^T q[t]

Inside a chunk the score of steps i >= j is sum_d q[i, d] k[j, d] exp(g[j+1, d] + ... + g[i, d]),
which is a matrix product only once the exponential is split, and split at the start of the chunk
it overflows. So a chunk is cut again, into blocks of 16 steps. Between two blocks the sum is split
at the start of the later one,

    (g[j+1] + ... + g[start-1])  +  (g[start] + ... + g[i]),

both parts at most 0: a matrix product. Inside a block every pair of steps has its own exponential.
Work a head: T C (K + V) + 2 T K V multiply-adds and 16 T K exponentials, in T / C dependent steps.
It pays with 16 T K numbers written out, and with keys written once for every block of the chunk.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from impl.common.axes import axis_sizes
from impl.common.chunks import cut, join
from impl.common.decays import segment_sums, states_between
from impl.common.heads import repeat_heads
from impl.registry import implements

BLOCK = 16


@implements(
    "gated_linear_attention",
    source="S. Yang, B. Wang, Y. Shen, R. Panda and Y. Kim, ICML 2024, arXiv:2312.06635",
    trick="gla-secondary-chunking",
    knobs={"chunk": (16, 64, 128)},
)
def gla(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = exp(g) S[t-1] + k v^T``, ``o = S^T q``; fp32 throughout, fp64 for fp64 inputs.

    Head h of v and g reads group h // (H / G) of q and k, which are copied where G is not H.
    """
    length = axis_sizes(gla, q, k, v, g, h0)["T"]
    q, k = (repeat_heads(each, v.shape[2]) for each in (q, k))
    cuts = (cut(each, chunk) for each in (q, k, v, g))
    q, k, values, g = (each.unflatten(3, (-1, BLOCK)) for each in cuts)  # [B, H, N, n, 16, K]

    since = g.cumsum(-2)  # from the start of the block to a step
    inside = segment_sums(g.mT)  # [B, H, N, n, K, 16, 16]
    until = inside[..., -1, :].mT  # from a step to the end of its block
    # between two edges, the starts of the blocks and the end of the chunk
    edges = segment_sums(pad(since[..., -1, :], (0, 0, 1, 0)).mT).exp()
    edges = edges.movedim(-3, -1)  # [B, H, N, n + 1, n + 1, K]

    queries, keys = q * since.exp(), k * until.exp()
    # a later block I reads the keys of block J as they are at its start; zeros unless J < I
    read = keys.unsqueeze(3) * edges[..., :-1, 1:, None, :]
    apart = queries @ read.flatten(-3, -2).mT  # [B, H, N, n, 16, C]
    within = torch.einsum("...ik,...jk,...kij->...ij", q, k, inside.exp())
    written = (keys * edges[..., -1, 1:, None, :]).flatten(-3, -2)

    fresh = written.mT @ values.flatten(-3, -2)
    start = torch.zeros_like(fresh[:, :, 0]) if h0 is None else h0.to(fresh.dtype)
    before, last = states_between(fresh, edges[..., -1, 0, :, None], start)
    o = (within @ values).flatten(-3, -2) + apart.flatten(-3, -2) @ values.flatten(-3, -2)
    o = o + (queries * edges[..., :-1, 0, None, :]).flatten(-3, -2) @ before
    return join(o, length).to(v.dtype), last.to(v.dtype)
