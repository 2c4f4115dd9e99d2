"""Newton-Schulz on chip: the fused walk of the delta rule, its inverse by Newton's iteration.

    X <- X + X (I - (I + A) X),   from X = I - A,   A = diag(beta) K K^T below the diagonal
    U = X diag(beta) (V - K S),   O = Q S + tril(Q K^T) U,   S <- S + K^T U

Exact after log2(C) - 1 iterations of two products of C x C tiles, because A^C is zero: as many as
inverses of diagonal blocks that double take, without their masks, and without the C - 1 dependent
steps of substitution. It moves what they move. It pays with digits: where keys are alike the powers
of A that X passes through grow as binomial coefficients before they cancel.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.delta_walk import WIDEST, delta_walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements


@implements(
    "delta_rule",
    source="G. Schulz, Z. Angew. Math. Mech. 13, 1933, doi:10.1002/zamm.19330130111;"
    " S. Yang et al., NeurIPS 2024, arXiv:2406.06484",
    trick="neumann-cwy-inverse",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64), "checkpoint": (16, 128, 256)},
    excuses={"extreme": "keys alike: powers of A grow as binomial coefficients and cancel"},
)
def newton_schulz_fused(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 16,
    checkpoint: int = 128,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o = S^T q``; the state is float32 on chip.

    A chunk has ``chunk`` steps, in float32 at most 16. Head h of v reads group h // (H / G) of q and k.
    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(newton_schulz_fused, q, k, v, beta, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return delta_walk(q, k, v, beta, None, h0, cu_seqlens, sizes, chunk, checkpoint, "newton")
