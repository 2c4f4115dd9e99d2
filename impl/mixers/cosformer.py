"""cosFormer: linear attention whose weights fall with distance as a cosine.

    w[t, s] = relu(q[t]) . relu(k[s]) cos(angle[t] - angle[s]),   angle[t] = (pi / 2) t / horizon,
    o[t] = sum_{s <= t} w[t, s] v[s] / sum_{s <= t} w[t, s]

Because cos(x - y) = cos x cos y + sin x sin y, the keys (relu(k) cos, relu(k) sin) of twice the
width carry the distance, and the sum over the past is a state: 2 K (V + 1) elements a head, twice
that of plain linear attention. The angle is tied to a fixed horizon: an angle that depends on the
length at hand would make a model of one length another model at the next.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.heads import head_width, merge, split
from impl.registry import mixer


@mixer(
    "cosformer_attention",
    trick="cosformer",
    source="Z. Qin et al., ICLR 2022, arXiv:2202.08791",
    knobs={"horizon": (128, 1024)},
)
class Cosformer(nn.Module):
    """``W_o`` of the weighted mean of the values, with the weights ``w`` above."""

    def __init__(self, width: int, *, heads: int = 1, horizon: int = 128) -> None:
        super().__init__()
        self.heads, self.channels, self.horizon = heads, head_width(width, heads), horizon
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.o(self.readout(x))

    def step(
        self, x: Float[Tensor, "B D"], state: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Float[Tensor, "B D"], tuple[Tensor, Tensor, Tensor]]:
        """One token of the recurrence; the state holds the token's position too."""
        o, state = self.readout_step(x, state)
        return self.o(o), state

    def readout(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """What is read from the past, before the output projection."""
        q, k, v = self.project(x, torch.arange(x.shape[1], device=x.device)[None])
        weights = (q @ k.mT).tril()
        # a row of zero weights reads nothing: the epsilon keeps 0 / 0 away from it
        norm = weights.sum(-1, keepdim=True) + torch.finfo(x.dtype).eps
        return merge(weights @ v / norm)

    def readout_step(
        self, x: Float[Tensor, "B D"], state: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Float[Tensor, "B D"], tuple[Tensor, Tensor, Tensor]]:
        """``readout`` of one more token."""
        memory, total, position = state
        q, k, v = self.project(x[:, None], position[:, None])
        memory = memory + k.mT @ v
        total = total + k[:, :, 0]
        norm = (q[:, :, 0] * total).sum(-1)[..., None, None] + torch.finfo(x.dtype).eps
        return merge(q @ memory / norm)[:, 0], (memory, total, position + 1)

    def project(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys turned by their angle, twice as wide, and values; the heads apart."""
        last = int(position.max())
        if last >= self.horizon:
            raise ValueError(f"T={last + 1}, want at most horizon={self.horizon}")
        angle = (math.pi / 2 / self.horizon * position.to(x.dtype))[:, None, :, None]
        q, k = (functional.relu(split(layer(x), self.heads)) for layer in (self.q, self.k))
        q, k = (torch.cat([u * angle.cos(), u * angle.sin()], dim=-1) for u in (q, k))
        return q, k, split(self.v(x), self.heads)

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "B H 2K V"], Float[Tensor, "B H 2K"], Float[Tensor, " B"]]:
        """Zero sums at position 0."""
        memory = torch.zeros(
            batch, self.heads, 2 * self.channels, self.channels, device=device, dtype=dtype
        )
        return memory, memory[..., 0].clone(), torch.zeros(batch, device=device, dtype=dtype)

    def state_size(self, length: int) -> int:
        """Elements of both sums and the position, at any length."""
        return self.heads * 2 * self.channels * (self.channels + 1) + 1
