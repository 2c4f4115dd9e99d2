"""Log-linear attention: the past in buckets of 1, 2, 4, ... tokens, and a weight for each bucket.

    o[t] = sum_s w[t, s] v[s] / sum_s w[t, s],   w[t, s] = lambda[t, l(t, s)] relu(q[t]) . relu(k[s]) c[t, s]

The first n = t + 1 tokens lie in one bucket for each 1 in the binary digits of n, the longest first, as
in a Fenwick tree; token s lies in that of the highest digit in which s and n differ, l(t, s). A new
token makes a bucket of one and joins all buckets that the carry of n + 1 runs through. c is 1, or the
cosine of cosFormer, cos((pi / 2)(t - s) / horizon), which two sets of features carry.

The state is one sum a digit: (1 + log2 horizon) K (V + 1) elements a head, twice that with the cosine; T^2
multiply-adds in the parallel form here, T log T where the buckets are walked in chunks.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.feature_attention import quotient
from impl.common.heads import head_width, merge, split
from impl.registry import mixer


@mixer(
    source="H. Guo et al., 2025, arXiv:2506.04761; Z. Qin et al., ICLR 2022, arXiv:2202.08791",
    trick="log-linear-attention",
    knobs={"reweighting": ("cosine", "none"), "buckets": ("fenwick", "one"), "horizon": (128, 256)},
)
class LogLinear(nn.Module):
    """``W_o`` of the weighted mean of the values; one bucket is plain linear attention."""

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        horizon: int = 256,
        reweighting: str = "cosine",
        buckets: str = "fenwick",
    ) -> None:
        super().__init__()
        if reweighting not in ("cosine", "none"):
            raise ValueError(f"reweighting={reweighting!r}, want 'cosine' or 'none'")
        if buckets not in ("fenwick", "one"):
            raise ValueError(f"buckets={buckets!r}, want 'fenwick' or 'one'")
        self.heads, self.channels, self.horizon = heads, head_width(width, heads), horizon
        self.cosine, self.levels = reweighting == "cosine", 1
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        if buckets == "fenwick":
            self.levels = horizon.bit_length()
            self.weight = nn.Linear(width, heads * self.levels)

    def project(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of queries and keys, and values beside a 1; the heads apart."""
        last = int(position.max())
        if last >= self.horizon:
            raise ValueError(f"T={last + 1}, want at most horizon={self.horizon}")
        q, k = (functional.relu(split(layer(x), self.heads)) for layer in (self.q, self.k))
        if self.cosine:
            angle = (math.pi / 2 / self.horizon * position.to(x.dtype))[:, None, :, None]
            q, k = (torch.cat([u * angle.cos(), u * angle.sin()], dim=-1) for u in (q, k))
        v = split(self.v(x), self.heads)
        return q, k, torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)

    def weights(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B H T L"]:
        """``lambda``, above 0; 1 where there is one bucket."""
        if self.levels == 1:
            return torch.ones_like(x[:, None, :, :1])
        return functional.softplus(split(self.weight(x), self.heads))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        steps = torch.arange(x.shape[1], device=x.device)
        q, k, v = self.project(x, steps[None])
        scores = (q @ k.mT).tril()
        if self.levels > 1:
            # above the diagonal two numbers may agree in all digits: those scores are zero already
            apart = ((steps[:, None] + 1) ^ steps).tril().clamp_min(1)
            level = highest_digit(apart).expand_as(scores)
            scores = scores * self.weights(x).gather(-1, level)
        return self.o(merge(quotient(scores @ v)))

    def step(
        self, x: Float[Tensor, "B D"], state: tuple[Tensor, Tensor]
    ) -> tuple[Float[Tensor, "B D"], tuple[Tensor, Tensor]]:
        """One token more in the buckets; the state holds the token's position too."""
        sums, position = state  # [B, L, H, N, V+1], [B]
        q, k, v = self.project(x[:, None], position[:, None])
        fresh = (k.mT @ v)[:, None]
        if self.levels > 1:
            # digits below the one that the carry reaches are all 1, and become 0
            place = torch.arange(self.levels, device=x.device)
            reached = highest_digit(position.long() ^ (position.long() + 1))[:, None]
            here, joined = (
                part[..., None, None, None] for part in (place == reached, place < reached)
            )
            carried = fresh + (sums * joined).sum(1, keepdim=True)
            sums = torch.where(here, carried, torch.where(joined, 0.0, sums))
        else:
            sums = sums + fresh
        weight = self.weights(x[:, None]).permute(0, 3, 1, 2)[..., None]  # [B, L, H, 1, 1]
        weighted = (weight * sums).sum(1)
        return self.o(merge(quotient(q @ weighted)))[:, 0], (sums, position + 1)

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "B L H N V+1"], Float[Tensor, " B"]]:
        """Empty buckets at position 0."""
        features = 2 * self.channels if self.cosine else self.channels
        shape = (batch, self.levels, self.heads, features, self.channels + 1)
        return torch.zeros(shape, device=device, dtype=dtype), torch.zeros(
            batch, device=device, dtype=dtype
        )

    def state_size(self, length: int) -> int:
        """Elements of the buckets of every digit and the position."""
        features = 2 * self.channels if self.cosine else self.channels
        return self.levels * self.heads * features * (self.channels + 1) + 1


def highest_digit(number: Tensor) -> Tensor:
    """The place of the highest 1 of positive whole numbers, 0 for the last."""
    return number.double().log2().floor().long()
