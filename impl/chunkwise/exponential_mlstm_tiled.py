"""mLSTM with an exponential input gate in two levels of tiling: the normaliser is one more column of V.

    [N | d] = c Q S + (Q K^T * D i) [V | 1],   O = N / max(|d|, 1),   S = [C | n]

with i the exponential of the gate. The tiles, the parts of K and V and their states are those of the
sigmoid gate. One part of V holds d, which all others wait for, so that the division is not theirs but a
pass of its own: N and d are float32 until then. Against that gate it pays with this pass, with a copy of V
beside a column of ones, and with a part of ``columns`` for the one of d wherever V fills its own parts.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from impl.common.sequences import at_most, sequence_sizes
from impl.common.two_level_tiling import WIDEST, tiled
from impl.registry import implements


@implements(
    "exponential_mlstm",
    source="M. Beck, K. Poeppel, P. Lippe and S. Hochreiter, 2025, arXiv:2503.14376",
    trick="tfla-two-level-tiling",
    needs=("triton",),
    accepts={
        "K": {"at_most": 512},
        "V": {"at_most": 511},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (64, 128, 256), "tile": (16, 64), "columns": (16, 64)},
)
def exponential_mlstm_tiled(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    i: Float[Tensor, "B T H"],
    f: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V+1"] | None = None,
    *,
    chunk: int = 128,
    tile: int = 64,
    columns: int = 64,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V+1"]]:
    """``o = C^T q / max(|n . q|, 1)`` and the last ``[C | n]``, which is summed in float32.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(exponential_mlstm_tiled, q, k, v, i, f, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST - 1)
    V1 = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    sizes |= {"V": sizes["V"] + 1}
    Nd, last = tiled(
        q, k, V1, i, f, h0, cu_seqlens, sizes, chunk, tile, columns, exponential=True
    )  # fmt: skip
    return (Nd[..., :-1] / Nd[..., -1:].abs().clamp_min(1)).to(v.dtype), last
