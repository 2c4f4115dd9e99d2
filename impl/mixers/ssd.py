"""SSD: linear attention with one decay a head, the mixer of Mamba-2 without its convolution.

    S[t] = exp(dt[t] a) S[t-1] + dt[t] b[t] x[t]^T,   o[t] = S[t]^T c[t] + d x[t]

with a < 0 and dt > 0 computed from the token; b and c are shared by the heads. In parallel, with
G = cumsum(dt a), it is linear attention under the mask exp(G[t] - G[s]). The state is N P elements
a head.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.heads import head_width, merge, split
from impl.registry import mixer


@mixer("ssd", source="T. Dao and A. Gu, ICML 2024, arXiv:2405.21060")
class Ssd(nn.Module):
    """``W_o norm(S^T c + d x)`` of the scalar-decay recurrence; the state has ``width`` rows."""

    def __init__(self, width: int, *, heads: int = 1) -> None:
        super().__init__()
        self.heads, self.width, self.channels = heads, width, head_width(width, heads)
        self.b, self.c, self.x, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.dt = nn.Linear(width, heads)
        # steps of 0.01 to 0.1 and rates of 1 to 8 before training: memories of 1 to 100 tokens
        steps = torch.logspace(-2, -1, heads) if heads > 1 else torch.tensor([0.03])
        self.log_rate = nn.Parameter(torch.linspace(1, 8, heads).log())
        with torch.no_grad():
            self.dt.bias.copy_(steps.expm1().log())
        self.skip = nn.Parameter(torch.ones(heads, 1, 1))
        self.norm = nn.RMSNorm(self.channels)

    def project(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Give x [B, H, T, P], b and c [B, 1, T, N], dt and the log decay [B, H, T, 1]."""
        dt = split(functional.softplus(self.dt(u)), self.heads)
        decay = -dt * self.log_rate.exp()[:, None, None]
        return split(self.x(u), self.heads), self.b(u)[:, None], self.c(u)[:, None], dt, decay

    def forward(self, u: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        x, b, c, dt, g = self.project(u)
        total = g.cumsum(2)
        # masked before the exponential: above the diagonal it could overflow
        decay = (total - total.mT).tril().exp()
        o = ((c @ b.mT) * decay).tril() @ (dt * x)
        return self.o(merge(self.norm(o + self.skip * x)))

    def step(
        self, u: Float[Tensor, "B D"], state: Float[Tensor, "B H N P"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B H N P"]]:
        """One token of the recurrence above."""
        x, b, c, dt, g = self.project(u[:, None])
        state = g.exp() * state + b.mT @ (dt * x)
        return self.o(merge(self.norm(c @ state + self.skip * x)))[:, 0], state

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "B H N P"]:
        """Zeros."""
        shape = (batch, self.heads, self.width, self.channels)
        return torch.zeros(shape, device=device, dtype=dtype)

    def state_size(self, length: int) -> int:
        """Elements of ``S``, at any length."""
        return self.heads * self.width * self.channels
