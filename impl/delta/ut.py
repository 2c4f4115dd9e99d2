"""UT transform: a chunk of the delta rule as one triangular solve.

With A the part of diag(beta) K K^T below the diagonal,

    [W | Y] = (I + A)^-1 diag(beta) [K | V],   U = Y - W S
    S[n+1] = S + K^T U,   O = Q S + tril(Q K^T) U.

With R corrections a token, as DeltaProduct has, the rows of Q and O are tokens and all others
corrections, and tril keeps of a row those of its token and of earlier ones.
The same C^2 (K + V) / 2 multiply-adds a chunk as the WY form column by column, in one call instead of
C; the chunks are walked in T / C steps of two products each.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.common.chunks import cut, join
from impl.common.delta_states import delta_states
from impl.common.heads import repeat_heads
from impl.registry import implements


@implements(
    "delta_rule",
    source="T. Joffrain et al., ACM Trans. Math. Softw. 32, 2006, doi:10.1145/1141885.1141886;"
    " S. Yang et al., NeurIPS 2024, arXiv:2406.06484",
    trick="ut-transform",
    knobs={"chunk": (16, 32, 64)},
)
def ut(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 32,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o = S^T q``, in chunks of ``chunk`` steps."""
    size = axis_sizes(ut, q, k, v, beta, h0)
    q, k = (repeat_heads(x, size["H"]) for x in (q, k))
    Q, K, V, b = (cut(x, min(chunk, size["T"])) for x in (q, k, v, beta))
    W, Y = _solved(K, V, b)
    U, starts, state = delta_states(K, W, Y, h0)
    o = Q @ starts + (Q @ K.mT).tril() @ U
    return join(o, size["T"]).to(v.dtype), state.to(v.dtype)


@implements(
    "delta_product",
    source="J. Siems et al., NeurIPS 2025, arXiv:2502.10297;"
    " T. Joffrain et al., ACM Trans. Math. Softw. 32, 2006, doi:10.1145/1141885.1141886",
    trick="deltaproduct",
    knobs={"chunk": (32, 64)},
)
def product(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T R G K"],
    v: Float[Tensor, "B T R H V"],
    beta: Float[Tensor, "B T R H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 32,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """R delta rules a token, ``o = S^T q`` after the last.

    In chunks of ``chunk`` corrections; a token of more is a chunk by itself.
    """
    size = axis_sizes(product, q, k, v, beta, h0)
    q, k = (repeat_heads(x, size["H"]) for x in (q, k))
    tokens = min(max(1, chunk // size["R"]), size["T"])
    Q = cut(q, tokens)
    K, V, b = (cut(x.movedim(2, 3), tokens).flatten(3, 4) for x in (k, v, beta))
    W, Y = _solved(K, V, b)
    U, starts, state = delta_states(K, W, Y, h0)
    M = Q.new_ones(tokens, tokens).tril().repeat_interleave(size["R"], dim=1)
    o = Q @ starts + (Q @ K.mT * M) @ U
    return join(o, size["T"]).to(v.dtype), state.to(v.dtype)


def _solved(K: Tensor, V: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    beta = beta[..., None]  # [B, H, N, C, 1]
    # unitriangular: the solver takes the diagonal as ones and leaves the upper part unread
    WY = torch.linalg.solve_triangular(
        beta * (K @ K.mT), beta * torch.cat([K, V], dim=-1), upper=False, unitriangular=True
    )
    W, Y = WY.split([K.shape[-1], V.shape[-1]], dim=-1)
    return W, Y
