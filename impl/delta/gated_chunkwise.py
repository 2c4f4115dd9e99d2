"""Chunkwise gated delta rule in one kernel: the decays enter the triangular system.

With D[i, j] = exp(g[j+1] + ... + g[i]) inside a chunk and c[i] = exp(g[1] + ... + g[i]) from its start,

    U = (I + A)^-1 diag(beta) (V - diag(c) K S),   A = diag(beta) (K K^T * D) below the diagonal
    O = diag(c) Q S + (Q K^T * D) U,   S <- c[C] S + (diag(D[C]) K)^T U

One number a step more to read than the ungated kernel, which is this one with D = c = 1, and C^2
exponentials a chunk. No exponent is above 0, so no gate overflows.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.delta_walk import WIDEST, delta_walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements


@implements(
    "gated_delta_rule",
    source="S. Yang, J. Kautz and A. Hatamizadeh, ICLR 2025, arXiv:2412.06464",
    trick="gated-deltanet",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64), "checkpoint": (16, 128, 256)},
)
def gated_chunkwise(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    g: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    checkpoint: int = 128,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S' = exp(g) S[t-1]``, then the delta rule on ``S'``; the state is float32 on chip.

    A chunk has ``chunk`` steps, in float32 at most 16. Head h of v reads group h // (H / G) of q and k.
    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(gated_chunkwise, q, k, v, beta, g, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return delta_walk(q, k, v, beta, g, h0, cu_seqlens, sizes, chunk, checkpoint)
