"""Newton-Schulz: the triangular system of the UT transform inverted by matrix products alone.

With A the part of diag(beta) K K^T below the diagonal of a chunk of C steps,

    X <- X + X (I - (I + A) X),   from X = I - A,

squares what is left, I - (I + A) X = A^2, each time. A^C is zero, so that log2(C) - 1 times, two
products each, give (I + A)^-1 exactly, and

    U = X diag(beta) (V - K S),   S[n+1] = S + K^T U,   O = Q S + tril(Q K^T) U.

4 C^3 (log2(C) - 1) multiplies and adds a chunk, where substitution has C^3 / 3 in C - 1 dependent
steps. Until its last product X is a sum of powers of A: where keys are alike these grow as binomial
coefficients, and cancelling takes the digits of the sum, which substitution and doubling keep.

The polar iteration X <- 1.5 X - 0.5 X X^T X of the same name ends at the orthogonal factor of I + A,
which is its inverse only where A is zero.
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
    source="G. Schulz, Z. Angew. Math. Mech. 13, 1933, doi:10.1002/zamm.19330130111;"
    " S. Yang et al., NeurIPS 2024, arXiv:2406.06484",
    trick="neumann-cwy-inverse",
    knobs={"chunk": (16, 32, 64)},
    excuses={"extreme": "keys alike: powers of A grow as binomial coefficients and cancel"},
)
def newton_schulz(
    q: Float[Tensor, "B T G K"],
    k: Float[Tensor, "B T G K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 32,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (I - beta k k^T) S[t-1] + beta k v^T``, ``o = S^T q``, in chunks of ``chunk`` steps."""
    size = axis_sizes(newton_schulz, q, k, v, beta, h0)
    q, k = (repeat_heads(x, size["H"]) for x in (q, k))
    Q, K, V, b = (cut(x, min(chunk, size["T"])) for x in (q, k, v, beta))
    b = b[..., None]  # [B, H, N, C, 1]
    X = unit_lower_inverse((b * (K @ K.mT)).tril(-1))
    W, Y = (X @ (b * torch.cat([K, V], dim=-1))).split([size["K"], size["V"]], dim=-1)
    U, starts, state = delta_states(K, W, Y, h0)
    o = Q @ starts + (Q @ K.mT).tril() @ U
    return join(o, size["T"]).to(v.dtype), state.to(v.dtype)


def unit_lower_inverse(A: Float[Tensor, "... C C"]) -> Float[Tensor, "... C C"]:
    """``(I + A)^-1`` of an ``A`` that is zero on and above its diagonal."""
    one = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    X = one - A
    order = 2
    while order < A.shape[-1]:
        X = X + X @ (one - X - A @ X)
        order *= 2
    return X
