"""Fused generalised delta rule (RWKV-7): the state stays on chip.

With b = eta * kappa, D[i, j] = exp(g[j+1] + ... + g[i]), a number a channel, c[i] and e[j] the decays
from the start of a chunk and to its end, and D' and c' those that stop a step earlier,

    A[i, j] = sum_d kappa[i, d] D'[i, j, d] b[j, d],   F[i, j] = ... k[j, d]    for i > j
    P[i, j] = sum_d q[i, d] D[i, j, d] b[j, d],        W[i, j] = ... k[j, d]    for i >= j
    U = -(I + A)^-1 ((c' * kappa) S + F V)
    O = (c * Q) S + P U + W V,   S <- diag(c[C]) S + (e * b)^T U + (e * K)^T V

is the walk of ``impl/common/dplr_walk.py``, its write apart from its removal. The forward pass moves
every tensor once. A backward pass costs it a state every ``checkpoint`` steps, K V / checkpoint numbers
a step, or, with every chunk's kept, 8 C + 2 V + 2 K V / C. Against KDA it pays with 2 K numbers a step
to read, less one, and with twice the triangles.
"""

from jaxtyping import Float, Int
from torch import Tensor

from impl.common.dplr_walk import WIDEST, dplr_walk
from impl.common.sequences import at_most, sequence_sizes
from impl.registry import implements


@implements(
    "generalised_delta_rule",
    source="B. Peng et al., 2025, arXiv:2503.14456",
    trick="rwkv7-generalized-delta",
    needs=("triton",),
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64), "checkpoint": (16, 32, 128, 256, 512)},
)
def generalised_fused(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    kappa: Float[Tensor, "B T H K"],
    eta: Float[Tensor, "B T H K"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    checkpoint: int = 256,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (diag(exp(g)) - (eta * kappa) kappa^T) S[t-1] + k v^T``; the state is float32 on chip.

    A backward pass keeps every ``checkpoint``-th state. In float32 a chunk has at most 16 steps.
    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(generalised_fused, q, k, v, kappa, eta, g, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=WIDEST, V=WIDEST)
    return dplr_walk(q, k, v, kappa, eta, g, h0, cu_seqlens, sizes, chunk, checkpoint)
