"""Gated delta rule in chunks: the UT transform with the decays inside.

With D[i, j] = exp(g[j+1] + ... + g[i]) the decay from step j to step i of a chunk, c[i] the decay
from its start to step i, and A the part of diag(beta) (K K^T * D) below the diagonal,

    [W | Y] = (I + A)^-1 diag(beta) [diag(c) K | V],   U = Y - W S
    S[n+1] = c[C] S + (diag(D[C]) K)^T U,   O = diag(c) Q S + tril(Q K^T * D) U.

Each decay is the exponential of a sum over just its own steps, never above 1 and never a quotient
of two vanishing products; for C x C of them that costs C^2 additions a chunk on top of the ungated form.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.common.chunks import cut, join
from impl.common.decays import segment_sums
from impl.common.delta_states import delta_states
from impl.common.heads import repeat_heads
from impl.registry import implements


@implements(
    "gated_delta_rule",
    source="S. Yang, J. Kautz and A. Hatamizadeh, ICLR 2025, arXiv:2412.06464",
    trick="gated-deltanet",
    knobs={"chunk": (16, 32, 64)},
)
def gated(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    g: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 32,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S' = exp(g) S[t-1]``, then the delta rule on ``S'``, in chunks of ``chunk`` steps."""
    size = axis_sizes(gated, q, k, v, beta, g, h0)
    q, k = (repeat_heads(x, size["H"]) for x in (q, k))
    Q, K, V, b, log = (cut(x, min(chunk, size["T"])) for x in (q, k, v, beta, g))
    D = segment_sums(log).exp()
    c, b = log.cumsum(-1).exp()[..., None], b[..., None]  # [B, H, N, C, 1]
    # the same system from the right: other roundings, which bring g's gradient nearer for shut gates
    system, rest = b * (K @ K.mT) * D, b * torch.cat([c * K, V], dim=-1)
    WY = torch.linalg.solve_triangular(
        system.mT, rest.mT, upper=True, left=False, unitriangular=True
    ).mT
    W, Y = WY.split([size["K"], size["V"]], dim=-1)
    kept = D[..., -1, :, None] * K
    U, starts, state = delta_states(kept, W, Y, h0, c[..., -1:, :])
    o = c * Q @ starts + (Q @ K.mT * D) @ U
    return join(o, size["T"]).to(v.dtype), state.to(v.dtype)
