"""Generalised delta rule in chunks (RWKV-7): decays by channel, and a removal apart from the write.

With b = eta * kappa, D[i, j] = exp(g[j+1] + ... + g[i]) the decays from step j to step i of a chunk,
a number a channel, c[i] and e[j] those from its start and to its end, and x' for a decay that stops
a step earlier, for kappa reads the state before it decays, the triangles

    A[i, j] = sum_d kappa[i, d] D'[i, j, d] b[j, d],   F[i, j] = ... k[j, d]    for i > j
    P[i, j] = sum_d q[i, d] D[i, j, d] b[j, d],        G[i, j] = ... k[j, d]    for i >= j

give what each step recalls, U, what the chunk leaves, and what it reads:

    [W | Y] = (I + A)^-1 [c' * kappa | F V],   U = W S + Y
    S[n+1] = diag(c[C]) S + (e * K)^T V - (e * B)^T U,   O = (c * Q) S + G V - P U

so it is the walk of the delta rule with two rows a step, one that removes and one that writes. D is
never formed: the triangles are built by halving the chunk. Twice the triangles of KDA, whose removal
is tied to its key, and three more tensors of K numbers a step to read than the delta rule.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.common.chunks import cut, join
from impl.common.delta_states import delta_states
from impl.common.halved_decays import decayed_scores, sums_before, sums_behind
from impl.registry import implements


@implements(
    "generalised_delta_rule",
    source="B. Peng et al., 2025, arXiv:2503.14456",
    trick="rwkv7-generalized-delta",
    knobs={"chunk": (16, 32, 64)},
)
def generalised(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    kappa: Float[Tensor, "B T H K"],
    eta: Float[Tensor, "B T H K"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 32,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (diag(exp(g)) - (eta * kappa) kappa^T) S[t-1] + k v^T``, in chunks of ``chunk`` steps."""
    size = axis_sizes(generalised, q, k, v, kappa, eta, g, h0)
    Q, K, V, R, E, log = (cut(x, chunk) for x in (q, k, v, kappa, eta, g))
    B = E * R
    system = decayed_scores(R, B, log, before=True)
    rest = torch.cat([sums_before(log).exp() * R, decayed_scores(R, K, log, before=True) @ V], -1)
    WY = torch.linalg.solve_triangular(system, rest, upper=False, unitriangular=True)
    W, Y = WY.split([size["K"], size["V"]], dim=-1)
    # rows that remove, then rows that write: [-U | V] under the keys [B | K]
    until = sums_behind(log).exp()
    kept = torch.cat([until * B, until * K], dim=-2)  # [B, H, N, 2 C, K]
    W, Y = torch.cat([W, torch.zeros_like(W)], dim=-2), torch.cat([-Y, V], dim=-2)
    c = log.cumsum(-2).exp()
    written, starts, state = delta_states(kept, W, Y, h0, c[..., -1, :, None])
    scores = torch.cat([decayed_scores(Q, B, log), decayed_scores(Q, K, log)], dim=-1)
    o = c * Q @ starts + scores @ written
    return join(o, size["T"]).to(v.dtype), state.to(v.dtype)
