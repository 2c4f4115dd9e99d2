"""Gated DeltaNet: the delta rule on a memory that also fades.

    S' = exp(g[t]) S[t-1],   S[t] = S' + beta[t] k[t] (v[t] - S'^T k[t])^T,   o[t] = S[t]^T q[t]

with unit keys and g <= 0. In parallel, with G = cumsum(g) and D[t, s] = exp(G[t] - G[s]) for s <= t,

    (I + tril(diag(beta) K K^T * D, -1)) u = diag(beta) v,   o = (tril(Q K^T) * D) u.

Against DeltaNet it can drop everything at once; the state is the same K V elements a head.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.heads import head_width, merge, split
from impl.registry import mixer


@mixer(
    "gated_delta_rule",
    trick="gated-deltanet",
    source="S. Yang, J. Kautz, A. Hatamizadeh, ICLR 2025, arXiv:2412.06464",
)
class GatedDeltanet(nn.Module):
    """``W_o norm(S^T q)`` of the gated delta rule, with ``g = log sigmoid(W_g x + 4)``."""

    def __init__(self, width: int, *, heads: int = 1) -> None:
        super().__init__()
        self.heads, self.channels = heads, head_width(width, heads)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.b, self.g = nn.Linear(width, heads), nn.Linear(width, heads)
        # remembers about 1 / (1 - sigmoid(4)) = 56 tokens before training
        nn.init.constant_(self.g.bias, 4.0)
        self.norm = nn.RMSNorm(self.channels)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Unit queries and keys, values, beta and g [B, H, T, 1]; the heads apart."""
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        q, k = (functional.normalize(functional.silu(u), dim=-1) for u in (q, k))
        beta = split(torch.sigmoid(self.b(x)), self.heads)
        return q, k, v, beta, split(functional.logsigmoid(self.g(x)), self.heads)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        q, k, v, beta, g = self.project(x)
        total = g.cumsum(2)
        # masked before the exponential: above the diagonal it could overflow
        decay = (total - total.mT).tril().exp()  # [B, H, T, T]
        system = (beta * (k @ k.mT) * decay).tril(-1)
        u = torch.linalg.solve_triangular(system, beta * v, upper=False, unitriangular=True)
        return self.o(merge(self.norm(((q @ k.mT) * decay).tril() @ u)))

    def step(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B H K V"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B H K V"]]:
        """Fade, then write the part of the value that the key does not read back already."""
        q, k, v, beta, g = self.project(x[:, None])  # each [B, H, 1, K]
        state = g.exp() * state
        state = state + k.mT @ (beta * (v - k @ state))
        return self.o(merge(self.norm(q @ state)))[:, 0], state

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "B H K V"]:
        """An empty memory."""
        shape = (batch, self.heads, self.channels, self.channels)
        return torch.zeros(shape, device=device, dtype=dtype)

    def state_size(self, length: int) -> int:
        """Elements of ``S``, at any length."""
        return self.heads * self.channels**2
