"""DeltaProduct fused inside the token: one kernel takes R corrections a token and reads once.

With the corrections of C tokens as rows j of one chunk, and M[i, j] = 1 where correction j is none
of a token after i,

    U = (I + A)^-1 diag(beta) (V - K S),   A = diag(beta) K K^T below the diagonal   C R rows
    O = Q S + (Q K^T * M) U                                                          C rows
    S <- S + K^T U                                                chunk after chunk

The delta rule on a sequence R times as long with R - 1 of R queries zero, of which only the rows that
are kept are computed: R times fewer bytes of q and o, backwards of their gradients too, and up to R
times fewer multiply-adds in the products with Q, though from Hopper on an instruction takes 64 rows,
so that there a chunk of 64 saves none. Those of the triangular system remain.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.delta_walk import WIDEST, delta_walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements

MOST = 16
"""Largest R: a chunk still takes a token."""


@implements(
    "delta_product",
    source="J. Siems et al., NeurIPS 2025, arXiv:2502.10297",
    trick="deltaproduct",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "R": {"at_most": 16},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64), "checkpoint": (32, 128, 256)},
)
def product_fused(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T R G K"],
    v: Float[Tensor, "B T R H V"],
    beta: Float[Tensor, "B T R H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    checkpoint: int = 128,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """R delta rules a token, ``o = S^T q`` after the last; ``chunk`` corrections at a time at most.

    In float32 16 at most. The state is float32 on chip. Head h of v reads group h // (H / G) of q and k. With ``cu_seqlens``,
    which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(product_fused, q, k, v, beta, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST, R=MOST)
    return delta_walk(q, k, v, beta, None, h0, cu_seqlens, sizes, chunk, checkpoint)
