"""Chunkwise mLSTM with sigmoid gates: dense products inside a chunk, a decaying state between chunks.

With g = log sigmoid(f) and D[t, s] = exp(g[s+1] + ... + g[t]) for s <= t inside a chunk,

    o[t] = sum_s<=t  D[t, s] (q[t] . k[s]) sigmoid(i[s]) v[s]  +  D[t, start] S^T q[t]
    S'   = D[end, start] S  +  sum_s  D[end, s] sigmoid(i[s]) k[s] v[s]^T

T C (K + V) + 2 T K V multiply-adds a head in T / C dependent steps; the step form has 2 T K V in T.
Sigmoids need neither the normaliser nor the running maximum of the exponential gate. It pays with
C^2 decays a chunk and with every state written out.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from impl.common.axes import axis_sizes
from impl.common.chunks import accumulation_dtype, cut, join
from impl.common.decays import segment_sums, states_between
from impl.registry import implements


@implements(
    "sigmoid_mlstm",
    source="M. Beck, K. Poeppel, P. Lippe and S. Hochreiter, 2025, arXiv:2503.14376",
    trick="chunkwise-parallel-scan",
    knobs={"chunk": (16, 64)},
)
def sigmoid_mlstm(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    i: Float[Tensor, "B T H"],
    f: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = sigmoid(f) S[t-1] + sigmoid(i) k v^T``, ``o = S^T q``; fp32, fp64 for fp64 inputs."""
    length = axis_sizes(sigmoid_mlstm, q, k, v, i, f, h0)["T"]
    # steps that fill the last chunk keep everything: the zeros are put behind the sigmoid
    g = cut(logsigmoid(f.to(accumulation_dtype(f))), chunk)
    q, k, i, values = (cut(x, chunk) for x in (q, k, i, v))
    keys = i.sigmoid()[..., None] * k

    gaps = segment_sums(g)
    until = gaps[..., -1, :].exp()[..., None]  # from a step to the end of its chunk
    since = g.cumsum(-1).exp()[..., None]  # from the start of the chunk to a step
    fresh = (until * keys).mT @ values
    start = torch.zeros_like(fresh[:, :, 0]) if h0 is None else h0.to(fresh.dtype)
    before, last = states_between(fresh, since[..., -1:, :], start)
    o = (q @ keys.mT * gaps.exp()) @ values + since * (q @ before)
    return join(o, length).to(v.dtype), last.to(v.dtype)
