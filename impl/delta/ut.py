"""UT transform: a chunk of the delta rule as one triangular solve.

With A the part of diag(beta) K K^T below the diagonal,

    [W | Y] = (I + A)^-1 diag(beta) [K | V],   U = Y - W S
    S[n+1] = S + K^T U,   O = Q S + tril(Q K^T) U.

The same C^2 (K + V) / 2 multiply-adds a chunk as the WY form column by column, in one call instead of
C; the chunks are walked in T / C steps of two products each.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.common.chunks import cut, join
from impl.common.delta_states import delta_states
from impl.registry import implements


@implements(
    "delta_rule",
    source="T. Joffrain et al., ACM Trans. Math. Softw. 32, 2006, doi:10.1145/1141885.1141886;"
    " S. Yang et al., NeurIPS 2024, arXiv:2406.06484",
    trick="ut-transform",
    knobs={"chunk": (16, 32, 64)},
)
def ut(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 32,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o = S^T q``, in chunks of ``chunk`` steps."""
    size = axis_sizes(ut, q, k, v, beta, h0)
    Q, K, V, b = (cut(x, min(chunk, size["T"])) for x in (q, k, v, beta))
    b = b[..., None]  # [B, H, N, C, 1]
    # unitriangular: the solver takes the diagonal as ones and leaves the upper part unread
    WY = torch.linalg.solve_triangular(
        b * (K @ K.mT), b * torch.cat([K, V], dim=-1), upper=False, unitriangular=True
    )
    W, Y = WY.split([size["K"], size["V"]], dim=-1)
    U, starts, state = delta_states(K, W, Y, h0)
    o = Q @ starts + (Q @ K.mT).tril() @ U
    return join(o, size["T"]).to(v.dtype), state.to(v.dtype)
