"""Linear attention in two levels of tiling: heads wider than a state that one program can hold.

    O = (Q K^T * M) V + Q S,    S <- S + K^T V        chunk after chunk

The gated form with every decay 1. K and V are cut into parts of ``columns``, a program for each part of V and each
tile of ``tile`` steps, and states pass through HBM every ``chunk`` steps. Against one program a head
it is bound neither by K, all of which such a program holds, nor by sequences x heads.
It pays with k and v read twice and 2 K V / C numbers a step for the states.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.sequences import at_most, sequence_sizes
from impl.common.two_level_tiling import WIDEST, tiled
from impl.registry import implements


@implements(
    "linear_attention",
    source="M. Beck, K. Poeppel, P. Lippe and S. Hochreiter, 2025, arXiv:2503.14376",
    trick="tfla-two-level-tiling",
    needs=("triton",),
    accepts={
        "K": {"at_most": 512},
        "V": {"at_most": 512},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (64, 128, 256), "tile": (16, 64), "columns": (16, 64)},
)
def linear_attention_tiled(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 128,
    tile: int = 64,
    columns: int = 64,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = S[t-1] + k[t] v[t]^T``, ``o[t] = S[t]^T q[t]``; the state is summed in float32.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(linear_attention_tiled, q, k, v, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return tiled(q, k, v, None, None, h0, cu_seqlens, sizes, chunk, tile, columns)
