"""mLSTM with sigmoid gates in two levels of tiling: the length of a chunk is free of what fits on chip.

States pass through HBM every ``chunk`` steps; inside a chunk the scores are cut into tiles of
``tile`` steps, and K and V into parts of ``columns``, a program for each tile and part. A chunk of C steps costs
2 K V / C numbers a step for its state, written and read, and C (K + V) / 2 multiply-adds: C trades
the one for the other. Programs need not wait for each other but for the states, so few sequences
fill a GPU. It pays with k and v read twice, and with T / tile dependent steps for the states;
backwards with q and dO read four times, k three times and v twice, by six kernels.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.sequences import at_most, sequence_sizes
from impl.common.two_level_tiling import WIDEST, tiled
from impl.registry import implements


@implements(
    "sigmoid_mlstm",
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
def sigmoid_mlstm_tiled(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    i: Float[Tensor, "B T H"],
    f: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 128,
    tile: int = 64,
    columns: int = 64,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = sigmoid(f) S[t-1] + sigmoid(i) k v^T``, ``o = S^T q``; the state is summed in float32.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(sigmoid_mlstm_tiled, q, k, v, i, f, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return tiled(q, k, v, i, f, h0, cu_seqlens, sizes, chunk, tile, columns)
