"""Fused chunkwise mLSTM with an exponential input gate: state and normaliser never leave the chip.

    N = c Q S + (Q K^T * D i) V,   d = c Q n + (Q K^T * D i) 1,   O = N / max(|d|, 1)
    S <- w S + (e i K)^T V,        n <- w n + (e i K)^T 1             chunk after chunk

with i the exponential of the gate. The walk of the sigmoid gate, beside which stand K numbers of n and a
sum over rows that are there: a division an element, no byte but for n with the states. Each tile of V
has its program and walks n anew. Backwards

    dN = dO / max(|d|, 1),   dd = -(dO . O) / d where |d| > 1, else 0

are taken first in each chunk, from the O that was stored, and d is made again; all else is the sigmoid
gate's with one more column. It pays by reading O, and with the dN of one chunk in a tensor of its own.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.linear_attention_walk import CHECKPOINT, WIDEST, walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements


@implements(
    "exponential_mlstm",
    source="M. Beck, K. Poeppel, P. Lippe and S. Hochreiter, 2025, arXiv:2503.14376",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64), "checkpoint": (16, 128, 256), "descriptors": (False, True)},
)
def exponential_mlstm_fused(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    i: Float[Tensor, "B T H"],
    f: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V+1"] | None = None,
    *,
    chunk: int = 64,
    checkpoint: int = CHECKPOINT,
    descriptors: bool = False,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V+1"]]:
    """``o = C^T q / max(|n . q|, 1)`` and the last ``[C | n]``, which is float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    ``descriptors`` have the copy engine of sm_90 bring the tiles backwards: whether that is faster is
    for ``madbench tune`` to say.
    """
    sizes = sequence_sizes(exponential_mlstm_fused, q, k, v, i, f, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return walk(
        q, k, v, h0, cu_seqlens, sizes, chunk, checkpoint,
        i=i, f=f, normalised=True, descriptors=descriptors,
    )  # fmt: skip
