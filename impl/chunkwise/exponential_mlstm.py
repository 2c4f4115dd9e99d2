"""Chunkwise mLSTM with an exponential input gate: a softmax-like weight, and a normaliser for it.

    [C | n][t] = sigmoid(f) [C | n][t-1] + exp(i) k [v | 1]^T,   o = C^T q / max(|n . q|, 1)

The normaliser is one more column of values, all ones, so that numerator and denominator are the chunks
of the sigmoid gate's form with V + 1 columns: T C (K + V) + 2 T K V multiply-adds a head in T / C
dependent steps, and a division an element more.

The papers carry C and n divided by exp(m), m a running maximum. It cancels in o but for the 1, which
becomes exp(-m): what it saves is range, not digits. Here there is none: a state above 3e38, from i
beyond about 80, is infinite. xLSTM 7B caps i at 15.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from impl.common.axes import axis_sizes
from impl.common.chunks import accumulation_dtype, cut, join
from impl.common.decays import segment_sums, states_between
from impl.registry import implements


@implements(
    "exponential_mlstm",
    source="M. Beck et al., xLSTM, NeurIPS 2024, arXiv:2405.04517",
    trick="chunkwise-parallel-scan",
    knobs={"chunk": (16, 64)},
)
def exponential_mlstm(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    i: Float[Tensor, "B T H"],
    f: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V+1"] | None = None,
    *,
    chunk: int = 64,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V+1"]]:
    """``o = C^T q / max(|n . q|, 1)`` and the last ``[C | n]``; fp32, fp64 for fp64 inputs."""
    length = axis_sizes(exponential_mlstm, q, k, v, i, f, h0)["T"]
    # steps that fill the last chunk keep everything and write nothing: their keys are zero
    g = cut(logsigmoid(f.to(accumulation_dtype(f))), chunk)
    q, k, i, values = (cut(x, chunk) for x in (q, k, i, pad(v, (0, 1), value=1.0)))
    keys = i.exp()[..., None] * k

    gaps = segment_sums(g)
    until = gaps[..., -1, :].exp()[..., None]  # from a step to the end of its chunk
    since = g.cumsum(-1).exp()[..., None]  # from the start of the chunk to a step
    fresh = (until * keys).mT @ values
    start = torch.zeros_like(fresh[:, :, 0]) if h0 is None else h0.to(fresh.dtype)
    before, last = states_between(fresh, since[..., -1:, :], start)
    found = join((q @ keys.mT * gaps.exp()) @ values + since * (q @ before), length)
    o = found[..., :-1] / found[..., -1:].abs().clamp_min(1)
    return o.to(v.dtype), last.to(v.dtype)
