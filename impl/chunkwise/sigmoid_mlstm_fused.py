"""Fused chunkwise mLSTM with sigmoid gates: one kernel, the state never leaves the chip.

    O = c Q S + (Q K^T * D i) V,    S <- w S + (e i K)^T V        chunk after chunk

The walk of fused linear attention with the gates as weights, made from i and f where they are used: q,
k, v and both gates are read once and o is written once, where two levels of tiling write their states
and read k and v twice. Backwards the weights of the paths over each step are summed as well, from
products that are there but for Q K^T, and from S and G where they meet. It pays with T / C dependent
steps in each program and with no more programs than sequences, heads and tiles of V, backwards than
sequences and heads.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.linear_attention_walk import CHECKPOINT, WIDEST, walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements


@implements(
    "sigmoid_mlstm",
    source="M. Beck, K. Poeppel, P. Lippe and S. Hochreiter, 2025, arXiv:2503.14376",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64), "checkpoint": (16, 128, 256), "descriptors": (False, True)},
)
def sigmoid_mlstm_fused(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    i: Float[Tensor, "B T H"],
    f: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    checkpoint: int = CHECKPOINT,
    descriptors: bool = False,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = sigmoid(f) S[t-1] + sigmoid(i) k v^T``, ``o = S^T q``; the state is float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    ``descriptors`` have the copy engine of sm_90 bring the tiles backwards: whether that is faster is
    for ``madbench tune`` to say.
    """
    sizes = sequence_sizes(sigmoid_mlstm_fused, q, k, v, i, f, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return walk(
        q, k, v, h0, cu_seqlens, sizes, chunk, checkpoint, i=i, f=f, descriptors=descriptors
    )
