"""Chunkwise delta rule in one kernel: the state of a head stays on chip while its chunks pass.

    U = (I + A)^-1 diag(beta) (V - K S),   A = diag(beta) K K^T below the diagonal
    O = Q S + tril(Q K^T) U,   S <- S + K^T U                chunk after chunk

The unit triangular inverse is built inside, in float32, from the diagonal outwards. Forwards every
input is read once and every output written once. Against the torch forms it saves their traffic and
their launches; it pays with T / C dependent steps in as few programs as there are sequences x heads.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.delta_walk import WIDEST, delta_walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements


@implements(
    "delta_rule",
    source="S. Yang et al., NeurIPS 2024, arXiv:2406.06484",
    trick="delta-rule-deltanet",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64), "checkpoint": (16, 128, 256)},
)
def chunkwise(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    checkpoint: int = 128,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o = S^T q``; the state is float32 on chip.

    A chunk has ``chunk`` steps, in float32 at most 16. Head h of v reads group h // (H / G) of q and k.
    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(chunkwise, q, k, v, beta, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return delta_walk(q, k, v, beta, None, h0, cu_seqlens, sizes, chunk, checkpoint)
