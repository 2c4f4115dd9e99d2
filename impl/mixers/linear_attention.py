"""Linear attention with a ReLU map: attention whose weights factor, so that a sum replaces the past.

    S[t] = S[t-1] + relu(k[t]) v[t]^T,   z[t] = z[t-1] + relu(k[t]),
    o[t] = S[t]^T relu(q[t]) / (z[t] . relu(q[t]))

The state is K (V + 1) elements a head at any length, against 2 T (K + V) of softmax attention. What
it pays is interference: the sum never forgets, and K keys fill it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.heads import head_width, merge, split
from impl.registry import mixer


@mixer(source="A. Katharopoulos et al., ICML 2020, arXiv:2006.16236")
class LinearAttention(nn.Module):
    """``W_o`` of the weighted mean of the values, with weights ``relu(q) . relu(k)``."""

    def __init__(self, width: int, *, heads: int = 1) -> None:
        super().__init__()
        self.heads, self.channels = heads, head_width(width, heads)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Non-negative queries and keys, and values; the heads apart."""
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        return functional.relu(q), functional.relu(k), v

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        q, k, v = self.project(x)
        weights = (q @ k.mT).tril()
        # a row of zero weights reads nothing: the epsilon keeps 0 / 0 away from it
        norm = weights.sum(-1, keepdim=True) + torch.finfo(x.dtype).eps
        return self.o(merge(weights @ v / norm))

    def step(
        self, x: Float[Tensor, "B D"], state: tuple[Tensor, Tensor]
    ) -> tuple[Float[Tensor, "B D"], tuple[Tensor, Tensor]]:
        """One token of the recurrence above."""
        q, k, v = self.project(x[:, None])  # each [B, H, 1, K]
        memory = state[0] + k.mT @ v
        total = state[1] + k[:, :, 0]
        norm = (q[:, :, 0] * total).sum(-1)[..., None, None] + torch.finfo(x.dtype).eps
        return self.o(merge(q @ memory / norm))[:, 0], (memory, total)

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "B H K V"], Float[Tensor, "B H K"]]:
        """Zero sums."""
        memory = torch.zeros(
            batch, self.heads, self.channels, self.channels, device=device, dtype=dtype
        )
        return memory, memory[..., 0].clone()

    def state_size(self, length: int) -> int:
        """Elements of ``S`` and ``z``, at any length."""
        return self.heads * self.channels * (self.channels + 1)
