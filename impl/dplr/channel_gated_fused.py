"""Fused delta rule with a decay for each key channel (KDA): the state stays on chip.

With b = beta k, D[i, j] = exp(g[j+1] + ... + g[i]), a number a channel, c[i] and e[j] the decays from
the start of a chunk and to its end,

    A[i, j] = sum_d k[i, d] D[i, j, d] b[j, d]    for i > j
    P[i, j] = sum_d q[i, d] D[i, j, d] b[j, d]    for i >= j
    U = (I + A)^-1 (V - (c * K) S)
    O = (c * Q) S + P U,   S <- diag(c[C]) S + (e * b)^T U

is the walk of ``impl/common/dplr_walk.py``, its removal tied to its write. The forward pass moves every
tensor once. A backward pass costs it a state every ``checkpoint`` steps, K V / checkpoint numbers a step,
or, with every chunk's kept, 4 C + 2 V + 2 K V / C; where heads share q and k, 2 K float32 numbers a step
and head of v, written and read. Against one decay a head it pays with K - 1 more numbers a step to read,
and with log2(C) products and 2 K log2(C) exponentials for its one product.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.dplr_walk import WIDEST, dplr_walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements


@implements(
    "channel_gated_delta_rule",
    source="Kimi Team, 2025, arXiv:2510.26692",
    trick="kda-constrained-dplr",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64), "checkpoint": (16, 32, 128, 256, 512)},
)
def channel_gated_fused(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    checkpoint: int = 256,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S' = exp(g)[:, None] * S[t-1]``, then the delta rule on ``S'``; the state is float32 on chip.

    A backward pass keeps every ``checkpoint``-th state. In float32 a chunk has at most 16 steps.
    Head h of v reads group h // (H / G) of q and k. With ``cu_seqlens``, which must end at T, B is 1
    and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(channel_gated_fused, q, k, v, beta, g, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return dplr_walk(q, k, v, None, beta, g, h0, cu_seqlens, sizes, chunk, checkpoint)
