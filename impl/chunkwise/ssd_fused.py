"""Fused SSD: Mamba-2's blocks in one kernel, the state never leaves the chip.

With L[i, j] = exp(dt[j+1] a + ... + dt[i] a) for i >= j, from[i] and to[j] its columns before the first
step and its row of the last, X = dt x:

    O = (C B^T * L) X + from C S,    S <- from[last] S + B^T (to X)

Forwards x, dt, o and S[T] move once and b and c once a head of their group. It pays with T / C dependent
steps. Backwards a program takes up to ``heads`` heads of a group and adds up their dB and dC; where it
has them all, these are written once, else once a program in float32, to be summed. More heads move
fewer bytes, in fewer programs: one a sequence and ``heads`` heads.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.sequences import at_most, sequence_sizes
from impl.common.ssd_walk import WIDEST, ssd_walk
from impl.registry import implements


@implements(
    "ssd",
    source="T. Dao and A. Gu, ICML 2024, arXiv:2405.21060",
    trick="semiseparable-block-decomposition",
    needs=("triton",),
    accepts={
        "P": {"at_most": 256},
        "N": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64), "checkpoint": (64, 128, 256), "heads": (1, 4, 8)},
)
def ssd_fused(
    x: Float[Tensor, "B T H P"],
    dt: Float[Tensor, "B T H"],
    a: Float[Tensor, " H"],
    b: Float[Tensor, "B T G N"],
    c: Float[Tensor, "B T G N"],
    h0: Float[Tensor, "B H N P"] | None = None,
    *,
    chunk: int = 64,
    checkpoint: int = 128,
    heads: int = 4,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H N P"]]:
    """``S[t] = exp(dt a) S[t-1] + dt b x^T``, ``o = S^T c``; the state is float32 on chip.

    ``checkpoint`` is the number of steps between the states that are kept for the backward pass. With
    ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(ssd_fused, x, dt, a, b, c, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, P=WIDEST, N=WIDEST)
    return ssd_walk(x, dt, a, b, c, h0, cu_seqlens, sizes, chunk, checkpoint, heads)
