"""Cosine-transform features: positive features along fixed directions of fixed lengths, none drawn.

    log phi_i(x) = log d_i + t_i DCT(x)_i - |x|^2 / 2

with a trained weight d_i for each feature, as normal directions w_i = t_i (row i of the cosine transform)
would have, their lengths t_i at the quantiles of a normal vector's. The rows of a block of K features are
orthogonal and cost K log2 K multiply-adds by a Fourier transform; further blocks flip the signs of the
channels by the bits of their number, so that their directions differ.

Nothing is random, and nothing averages out: with the directions fixed, more lengths along them add up
to the same wrong kernel. Only the sign flips bring new directions, 2^(K-1) blocks of them at most.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.feature_attention import FeatureAttention
from impl.registry import mixer


@mixer(
    source="H. Chen et al., ICML 2024, arXiv:2403.19928",
    trick="dijiang-dct-kernel",
    knobs={"flips": (True, False), "features": (32, 64)},
)
class Dct(FeatureAttention):
    """``W_o`` of the mean of the values, weighted by products of cosine-transform features."""

    def __init__(
        self, width: int, *, heads: int = 1, features: int = 64, flips: bool = True
    ) -> None:
        super().__init__(width, heads=heads, features=features)
        blocks = math.ceil(features / self.channels)
        number, bit = torch.arange(blocks)[:, None], torch.arange(self.channels)
        flipped = (number >> bit.clamp_max(62)) & 1 if flips else torch.zeros(blocks, self.channels)
        self.register_buffer("signs", 1.0 - 2.0 * flipped)
        self.register_buffer("lengths", normal_lengths(features, self.channels))
        self.d = nn.Parameter(torch.zeros(heads, 1, features))

    def log_features(
        self, x: Float[Tensor, "B H T K"], *, asks: bool
    ) -> tuple[Float[Tensor, "B H T N"], Float[Tensor, "B H T 1"]]:
        """``log d + t DCT(x) - |x|^2 / 2``, half of ``log d`` each, held against its largest."""
        lengths = self.get_buffer("lengths")
        met = cosine_transform(x[..., None, :] * self.get_buffer("signs")).flatten(-2)
        found = self.d / 2 + lengths * met[..., : len(lengths)]
        found = found - x.square().sum(-1, keepdim=True) / 2
        return found, found.amax(-1, keepdim=True)


def cosine_transform(x: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
    """The orthonormal transform of type two, by a Fourier transform of the reordered channels."""
    size = x.shape[-1]
    order = torch.cat([torch.arange(0, size, 2), torch.arange(1, size, 2).flip(0)])
    angle = -math.pi / (2 * size) * torch.arange(size, device=x.device, dtype=x.dtype)
    turned = torch.fft.fft(x[..., order.to(x.device)]) * torch.polar(torch.ones_like(angle), angle)
    scale = torch.full_like(angle, (2 / size) ** 0.5)
    scale[0] = (1 / size) ** 0.5
    return turned.real * scale


def normal_lengths(count: int, channels: int) -> Float[Tensor, " N"]:
    """Lengths of normal vectors at the quantiles (i + 1/2) / N, spread over the features."""
    share = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    squared = torch.linspace(0, 4 * channels + 64, 200_000, dtype=torch.float64)
    below = torch.special.gammainc(torch.tensor(channels / 2, dtype=torch.float64), squared / 2)
    at = torch.searchsorted(below, share)
    # neighbouring quantiles go to distant features: a block of directions has all lengths
    stride = next(
        k for k in range(max(1, int(count * 0.618)), 2 * count) if math.gcd(k, count) == 1
    )
    return squared[at].sqrt()[(torch.arange(count) * stride) % count].float()
