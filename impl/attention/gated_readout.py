"""Gated readout in two steps: linear attention, then the gate on what came out.

    O = linear_attention(Q, K, V),    O <- O * sigmoid(gate)

The kernel is that of fused linear attention; what it costs over the fused gate is 2 B T H V elements
written and read again, and the launches of the elementwise pass, forwards and backwards.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.linear_attention_walk import WIDEST, walk
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
    knobs={"chunk": (16, 32, 64)},
)
def gated_readout(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    gate: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``o[t] = S[t]^T q[t] * sigmoid(gate[t])`` and ``S[T]``, the readout rounded before the gate.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(gated_readout, q, k, v, gate, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    o, state = walk(q, k, v, h0, cu_seqlens, sizes, chunk)
    return o * gate.sigmoid(), state
