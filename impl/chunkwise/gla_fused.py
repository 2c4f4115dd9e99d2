"""Fused gated linear attention: chunks of 64 steps, the state never leaves the chip.

With from[i] and to[j] the decays of a key channel from the chunk's start and to its end,

    A[i, j] = sum_d q[i, d] k[j, d] exp(g[j+1, d] + ... + g[i, d])    for i >= j in the chunk
    O = A V + (Q from) S,    S <- diag(from[last]) S + (k to)^T V

Forwards every tensor moves once. It pays with 2 K log2(64) exponentials a step, anew for every 64 columns
of V, 32 where K is beyond 128, with products of which a half or more is thrown away, and backwards with
one state in ``checkpoint`` steps, written and read once. In float32, which has no such matrix units,
chunks have 16 steps. Heads of V that share one of q and k read it where it lies; backwards dq and dk are
then written in float32 for every head, read again and summed.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.gla_walk import WIDEST, gla_walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements


@implements(
    "gated_linear_attention",
    source="S. Yang, B. Wang, Y. Shen, R. Panda and Y. Kim, ICML 2024, arXiv:2312.06635",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"checkpoint": (16, 64, 128)},
)
def gla_fused(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    checkpoint: int = 128,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = exp(g) S[t-1] + k v^T``, ``o = S^T q``; the state is float32 on chip.

    ``checkpoint`` is the number of steps between the states that the backward pass keeps. Head h
    of v and g reads group h // (H / G) of q and k. With ``cu_seqlens``, which must end at T, B is 1 and
    ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(gla_fused, q, k, v, g, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return gla_walk(q, k, v, g, h0, cu_seqlens, sizes, checkpoint)
