"""WY form: the reflections of a chunk multiplied out, one column after another.

The steps of a chunk that starts from S compose to (I - K^T W) S + K^T Y, whose rows obey

    w[i] = beta[i] (k[i] - sum over j < i of (k[i] . k[j]) w[j])
    y[i] = beta[i] (v[i] - sum over j < i of (k[i] . k[j]) y[j])

so that with the corrected values U = Y - W S

    S[n+1] = S + K^T U,   O = Q S + tril(Q K^T) U.

C dependent steps build W and Y for all chunks at once, C^2 (K + V) / 2 multiply-adds a chunk in
products of a row with a matrix; the UT transform is the same triangular system solved in one call.
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
    source="C. Bischof and C. Van Loan, SIAM J. Sci. Stat. Comput. 8, 1987, doi:10.1137/0908009;"
    " S. Yang et al., NeurIPS 2024, arXiv:2406.06484",
    trick="wy-representation",
    knobs={"chunk": (16, 32, 64)},
)
def wy(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 32,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o = S^T q``, in chunks of ``chunk`` steps."""
    size = axis_sizes(wy, q, k, v, beta, h0)
    q, k = (repeat_heads(x, size["H"]) for x in (q, k))
    Q, K, V, b = (cut(x, min(chunk, size["T"])) for x in (q, k, v, beta))
    W, Y = _columns(K, V, b[..., None])
    U, starts, state = delta_states(K, W, Y, h0)
    o = Q @ starts + (Q @ K.mT).tril() @ U
    return join(o, size["T"]).to(v.dtype), state.to(v.dtype)


def _columns(K: Tensor, V: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    gram, KV = K @ K.mT, torch.cat([K, V], dim=-1)
    rows = beta[..., :1, :] * KV[..., :1, :]
    for i in range(1, K.shape[-2]):
        recalled = gram[..., i : i + 1, :i] @ rows
        row = beta[..., i : i + 1, :] * (KV[..., i : i + 1, :] - recalled)
        rows = torch.cat([rows, row], dim=-2)
    W, Y = rows.split([K.shape[-1], V.shape[-1]], dim=-1)
    return W, Y
