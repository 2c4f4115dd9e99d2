"""Delta rule with a decay for each key channel, in chunks (KDA).

With D[i, j] = exp(g[j+1] + ... + g[i]) the decays from step j to step i of a chunk, a number a channel,
c[i] and e[j] those from its start and to its end, and the triangles

    A[i, j] = beta[i] sum_d k[i, d] D[i, j, d] k[j, d]    for i > j
    P[i, j] = sum_d q[i, d] D[i, j, d] k[j, d]            for i >= j

the chunk is what the gated delta rule makes of it:

    [W | Y] = (I + A)^-1 diag(beta) [c * K | V],   U = Y - W S
    S[n+1] = diag(c[C]) S + (e * K)^T U,   O = (c * Q) S + P U

D is never formed: A and P are built by halving the chunk, log2(C) products each. Against one decay a
head that is log2(C) times the work on the triangles, and log2(C) K exponentials a step, not C.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.common.chunks import cut, join
from impl.common.delta_states import delta_states
from impl.common.halved_decays import decayed_scores, sums_behind
from impl.common.heads import repeat_heads
from impl.registry import implements


@implements(
    "channel_gated_delta_rule",
    source="Kimi Team, 2025, arXiv:2510.26692",
    trick="kda-constrained-dplr",
    knobs={"chunk": (16, 32, 64)},
)
def channel_gated(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 32,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S' = exp(g)[:, None] * S[t-1]``, then the delta rule on ``S'``, in chunks of ``chunk`` steps.

    Head h of v reads group h // (H / G) of q and k.
    """
    size = axis_sizes(channel_gated, q, k, v, beta, g, h0)
    q, k = (repeat_heads(x, size["H"]) for x in (q, k))
    Q, K, V, b, log = (cut(x, chunk) for x in (q, k, v, beta, g))
    b = b[..., None]  # [B, H, N, C, 1]
    c = log.cumsum(-2).exp()
    WY = torch.linalg.solve_triangular(
        b * decayed_scores(K, K, log),
        b * torch.cat([c * K, V], dim=-1),
        upper=False,
        unitriangular=True,
    )
    W, Y = WY.split([size["K"], size["V"]], dim=-1)
    kept = sums_behind(log).exp() * K
    U, starts, state = delta_states(kept, W, Y, h0, c[..., -1, :, None])
    o = c * Q @ starts + decayed_scores(Q, K, log) @ U
    return join(o, size["T"]).to(v.dtype), state.to(v.dtype)
