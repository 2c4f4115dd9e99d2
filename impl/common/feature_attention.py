"""Feature attention: softmax attention with the exponential replaced by a product of features.

    o[t] = sum_{s <= t} w[t, s] v[s] / sum_{s <= t} w[t, s],   w[t, s] = phi(q[t]) . phi(k[s])

A subclass says log phi. A factor of a query's own cancels in the quotient; that of a key does not, so
every key is held against the largest so far: with u[s] the largest log feature of key s and U[t] the
largest u up to t, phi(k[s]) exp(-u[s]) is stored and exp(u[s] - U[t]) weighs it. Nothing overflows,
no weight above the dtype's smallest is lost, and no later token is looked at. The state is N (V + 1)
elements a head and U.

A subclass may name another anchor u, and a floor that is added to each feature after it was held
against U; the floor of the keys reads the plain sum of the values, V + 1 elements more.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.heads import head_width, merge, split


class FeatureAttention(nn.Module):
    """Projections and both forms; ``log_features`` is the subclass's."""

    def __init__(self, width: int, *, heads: int, features: int, floor: float = 0.0) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"features={features}, want at least 1")
        self.heads, self.channels, self.features = heads, head_width(width, heads), features
        self.floor = floor
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))

    def log_features(
        self, x: Float[Tensor, "B H T K"], *, asks: bool
    ) -> tuple[Float[Tensor, "B H T N"], Float[Tensor, "B H T 1"]]:
        """``log phi(x)`` and its anchor; ``asks`` for a query, else a key. ``x`` is over ``K**0.25``."""
        raise NotImplementedError

    def project(self, x: Float[Tensor, "B T D"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features of queries and of keys, without their anchors; the keys'; values beside a 1."""
        q, k, v = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v))
        q, k = (y / self.channels**0.25 for y in (q, k))
        (q, own), (k, anchor) = self.log_features(q, asks=True), self.log_features(k, asks=False)
        told = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
        return (q - own).exp() + self.floor, (k - anchor).exp(), anchor, told

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        q, k, anchor, v = self.project(x)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        # masked before the exponential: above the diagonal it could overflow
        held = (anchor.mT - anchor.cummax(2).values).masked_fill(later, -torch.inf).exp()
        weights = (q @ k.mT) * held
        if self.floor:
            weights = weights + (self.floor * q.sum(-1, keepdim=True)).masked_fill(later, 0.0)
        return self.o(merge(quotient(weights @ v)))

    def step(
        self, x: Float[Tensor, "B D"], state: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "B D"], tuple[Tensor, ...]]:
        """One token of the sums above."""
        q, k, anchor, v = self.project(x[:, None])  # each [B, H, 1, N]
        memory, top, *plain = state
        higher = torch.maximum(top, anchor)
        memory = memory * (top - higher).exp() + (k * (anchor - higher).exp()).mT @ v
        sums = q @ memory
        if plain:
            plain = [plain[0] + v]
            sums = sums + self.floor * q.sum(-1, keepdim=True) * plain[0]
        return self.o(merge(quotient(sums)))[:, 0], (memory, higher, *plain)

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, ...]:
        """Zero sums, and no key yet: an anchor of minus infinity."""
        shape = (batch, self.heads, self.features, self.channels + 1)
        memory = torch.zeros(shape, device=device, dtype=dtype)
        top = torch.full_like(memory[..., :1, :1], -torch.inf)
        plain = [memory[..., :1, :].clone()] if self.floor else []
        return memory, top, *plain

    def state_size(self, length: int) -> int:
        """Elements of the sums and the anchor, at any length."""
        sums = self.features + 1 if self.floor else self.features
        return self.heads * (sums * (self.channels + 1) + 1)


def quotient(sums: Float[Tensor, "*B V+1"]) -> Float[Tensor, "*B V"]:
    """Weighted values over the weights' sum, which stands behind them."""
    # weights that all vanish read nothing: a number whose square is no zero keeps 0 / 0 away, in the
    # gradient too
    return sums[..., :-1] / (sums[..., -1:] + torch.finfo(sums.dtype).tiny ** 0.5)
