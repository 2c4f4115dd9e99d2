"""RWKV-7: a decay for every channel, and a removal that is not tied to what is written.

    h[t] = (diag(w) - (a * kappa) kappa^T) h[t-1] + k' v^T

with k = W_k x, kappa = k * xi normalised, a = sigmoid(..) in (0, 1) by channel, k' = k * (1 + alpha (a - 1))
and w = exp(-e^-0.5 sigmoid(..)) in (0.545, 1); the authors write the transpose. The eigenvalues are
those of the symmetric diag(w) - s s^T with s = sqrt(a) * kappa, hence in (min w - max a, 1): negative ones
down to 0.545 - 1 where a channel both decays and is removed, but no reflection, for at w = 1 they are
positive. ``signed`` lets a reach 1 + w, by channel, and they fill (-1, 1): a swap comes within reach.
The eigenvalues of one step bound products only while a stays as it is: A is not symmetric.
3 N elements a token to produce; N^2 V multiply-adds to apply as a matrix, (3 V + 1) N as it is.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.axes import axis_sizes
from impl.common.matrix_scan import matrix_scan
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer

FASTEST = math.exp(-0.5)
"""The largest rate of decay, a nat a token: w stays above exp(-FASTEST)."""


@implements(
    "rwkv_transition",
    source="B. Peng et al., 2025, arXiv:2503.14456",
    trick="rwkv7-generalized-delta",
)
def scan(
    w: Float[Tensor, "B T N"],
    a: Float[Tensor, "B T N"],
    k: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = (diag(w) - (a * k) k^T) h[t-1] + b[t]``; float32 or wider inside."""
    axis_sizes(scan, w, a, k, b, h0)
    wide = torch.promote_types(b.dtype, torch.float32)
    w, a, k = (x.to(wide) for x in (w, a, k))
    transition = torch.diag_embed(w) - (a * k)[..., :, None] * k[..., None, :]
    return matrix_scan(transition, b.to(wide), None if h0 is None else h0.to(wide)).to(b.dtype)


@mixer(
    "rwkv_transition",
    source="B. Peng et al., 2025, arXiv:2503.14456",
    trick="rwkv7-generalized-delta",
    knobs={"eigenvalues": ("positive", "signed")},
)
class Rwkv(TransitionLayer):
    """The layer with the transition of RWKV-7; its own token shift, gate and bonus stay outside."""

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        keys: int = 16,
        values: int = 8,
        eigenvalues: str = "positive",
    ) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        if eigenvalues not in ("positive", "signed"):
            raise ValueError(f"eigenvalues={eigenvalues!r}, want positive or signed")
        self.signed = eigenvalues == "signed"
        self.w, self.a = nn.Linear(width, keys), nn.Linear(width, keys)
        self.xi, self.alpha = (nn.Parameter(torch.ones(keys)) for _ in range(2))
        # slow: what is written lasts for some hundred tokens
        nn.init.constant_(self.w.bias, -5.0)

    def rate(self, x: Tensor) -> Float[Tensor, "B T N"]:
        """``a / (1 or 1 + w)``: the rate of removal as a fraction of the largest allowed."""
        return torch.sigmoid(self.a(x))

    def write(self, x: Tensor) -> Float[Tensor, "B T N V"]:
        k = self.k(x) * (1 + self.alpha * (self.rate(x) - 1))
        return k[..., :, None] * self.v(x)[..., None, :]

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        w = torch.exp(-FASTEST * torch.sigmoid(self.w(x)))
        a = self.rate(x) * (1 + w) if self.signed else self.rate(x)
        return scan(w, a, functional.normalize(self.k(x) * self.xi, dim=-1), b, h0)
