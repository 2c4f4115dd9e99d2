"""Gated readout in the epilogue: the gate is applied before the output is stored.

    O = ((Q K^T * M) V + Q S) * sigmoid(gate)

In the walk of fused linear attention, the rest of which is left as it is. The ungated readout never
reaches the HBM: B T H V elements are neither written nor read again, nor is a second kernel
launched. Backwards the gate is applied to the incoming gradient as the first thing in each chunk, and
dgate = dO * O * (1 - sigmoid(gate)) needs only the gated O that was stored anyway. It pays by
reading that O, and with the gated dO of one chunk in a tensor of its own.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.linear_attention_walk import CHECKPOINT, WIDEST, walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements


@implements(
    "gated_readout",
    source="Z. Qiu et al., Gated Attention for Large Language Models, NeurIPS 2025, arXiv:2505.06708",
    trick="post-attention-sigmoid-gating",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64), "checkpoint": (16, 128, 256), "descriptors": (False, True)},
)
def gated_readout(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    gate: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    checkpoint: int = CHECKPOINT,
    descriptors: bool = False,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``o[t] = S[t]^T q[t] * sigmoid(gate[t])`` and ``S[T]``; the state is float32 on chip.

    Head h of v reads group h // (H / G) of q and k. With ``cu_seqlens``, which must end at T, B is 1
    and ``h0`` and the final state have S rows. ``descriptors`` have the copy engine of sm_90 bring the
    tiles, forwards for warps of its own: whether that is faster is for ``madbench tune`` to say.
    """
    sizes = sequence_sizes(gated_readout, q, k, v, gate, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return walk(
        q, k, v, h0, cu_seqlens, sizes, chunk, checkpoint, gate=gate, descriptors=descriptors
    )
