"""Fused chunkwise linear attention: one kernel, the state never leaves the chip.

    O = (Q K^T * M) V + Q S,    S <- S + K^T V        chunk after chunk

One program a sequence and head reads q, k and v once and writes o once and S[T] once, the least
that any implementation can move. Each tile of 64 columns of V has its program, which asks for q and k
as well. Backwards one program a sequence and head goes over pieces of ``checkpoint`` steps from the
right, from the states that the forward pass left between them: K V / checkpoint numbers a step. It
pays with T / C dependent steps in each program and with no more programs than sequences and heads,
where the unfused pair has as many as chunks.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.linear_attention_walk import CHECKPOINT, WIDEST, walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements


@implements(
    "linear_attention",
    source="Z. Qin et al., Lightning Attention-2, 2024, arXiv:2401.04658",
    trick="lightning-attention-2",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64), "checkpoint": (16, 128, 256), "descriptors": (False, True)},
)
def linear_attention_fused(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    checkpoint: int = CHECKPOINT,
    descriptors: bool = False,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = S[t-1] + k[t] v[t]^T``, ``o[t] = S[t]^T q[t]``; the state is float32 on chip.

    Head h of v reads group h // (H / G) of q and k. With ``cu_seqlens``, which must end at T, B is 1
    and ``h0`` and the final state have S rows. ``descriptors`` have the copy engine of sm_90 bring the
    tiles, forwards for warps of its own: whether that is faster is for ``madbench tune`` to say.
    """
    sizes = sequence_sizes(linear_attention_fused, q, k, v, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return walk(q, k, v, h0, cu_seqlens, sizes, chunk, checkpoint, descriptors=descriptors)
