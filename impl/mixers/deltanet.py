"""DeltaNet: a memory that corrects what a key already stores instead of adding to it.

    S[t] = (I - beta[t] k[t] k[t]^T) S[t-1] + beta[t] k[t] v[t]^T,   o[t] = S[t]^T q[t]

with unit keys. In parallel, the corrected values u solve one triangular system,

    (I + tril(diag(beta) K K^T, -1)) u = diag(beta) v,   o = tril(Q K^T) u.

The state is K V elements a head. beta below 1 keeps the eigenvalues of the transition in [0, 1];
beta up to 2 lets them reach -1, so that a token can swap two directions, at no cost.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.heads import head_width, merge, split
from impl.registry import mixer


@mixer(
    "delta_rule",
    trick="delta-rule-deltanet",
    source="S. Yang et al., NeurIPS 2024, arXiv:2406.06484; R. Grazzi et al., ICLR 2025",
    knobs={"beta": (1, 2)},
)
class Deltanet(nn.Module):
    """``W_o norm(S^T q)`` of the delta rule; ``beta`` is the end of the range of ``beta[t]``."""

    def __init__(self, width: int, *, heads: int = 1, beta: int = 1) -> None:
        super().__init__()
        self.heads, self.channels, self.beta = heads, head_width(width, heads), beta
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.b = nn.Linear(width, heads)
        self.norm = nn.RMSNorm(self.channels)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Unit queries and keys, values, and beta [B, H, T, 1]; the heads apart."""
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        q, k = (functional.normalize(functional.silu(u), dim=-1) for u in (q, k))
        return q, k, v, split(self.beta * torch.sigmoid(self.b(x)), self.heads)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        q, k, v, beta = self.project(x)
        # unitriangular: the solver takes the diagonal as ones
        system = (beta * (k @ k.mT)).tril(-1)
        u = torch.linalg.solve_triangular(system, beta * v, upper=False, unitriangular=True)
        return self.o(merge(self.norm((q @ k.mT).tril() @ u)))

    def step(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B H K V"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B H K V"]]:
        """Write the part of the value that the key does not read back already."""
        q, k, v, beta = self.project(x[:, None])  # each [B, H, 1, K]
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
