"""Random projections: N directions w in K dimensions, drawn once, applied densely or by transforms.

    orthogonal  rows of random orthogonal matrices, each as long as a normal vector: N K multiply-adds
    circulant   circ(r) diag(+-1) with normal r: shifts of one vector, by a Fourier transform
    hadamard    H diag(+-1) H diag(+-1) H diag(+-1), rows of the same length: by butterflies

The last two cost K log2 K for every K directions and store K and 3 K numbers in place of K^2.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Orthogonal(nn.Module):
    """Rows of orthogonal matrices with the lengths of normal vectors."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        blocks = math.ceil(features / channels)
        turns, rest = torch.linalg.qr(torch.randn(blocks, channels, channels))
        # any direction is as likely as any other only once the signs that the algorithm chose are undone
        turns = (turns * rest.diagonal(dim1=-2, dim2=-1).sign()[:, None]).flatten(0, 1)
        lengths = torch.randn(features, channels).norm(dim=-1, keepdim=True)
        self.register_buffer("w", turns[:features] * lengths)

    def forward(self, x: Float[Tensor, "*B K"]) -> Float[Tensor, "*B N"]:
        return x @ self.get_buffer("w").mT


class Circulant(nn.Module):
    """Shifts of normal vectors."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        blocks = math.ceil(features / channels)
        self.features = features
        self.register_buffer("r", torch.randn(blocks, channels))
        self.register_buffer("signs", signs(blocks, channels))

    def forward(self, x: Float[Tensor, "*B K"]) -> Float[Tensor, "*B N"]:
        spectrum = torch.fft.rfft(self.get_buffer("r"))
        met = torch.fft.rfft(x[..., None, :] * self.get_buffer("signs"))
        rows = torch.fft.irfft(spectrum * met, n=x.shape[-1])
        return rows.flatten(-2)[..., : self.features]


class Hadamard(nn.Module):
    """Three Hadamard transforms with random signs; ``lengths`` as of normal vectors, or all equal."""

    def __init__(self, features: int, channels: int, *, lengths: str) -> None:
        super().__init__()
        if channels & (channels - 1):
            raise ValueError(f"K={channels}, want a power of two: the transform halves it")
        blocks = math.ceil(features / channels)
        self.register_buffer("signs", signs(3, blocks, channels))
        drawn = torch.randn(features, channels).norm(dim=-1)
        same = torch.full_like(drawn, channels**0.5)
        self.register_buffer("lengths", drawn if lengths == "normal" else same)

    def forward(self, x: Float[Tensor, "*B K"]) -> Float[Tensor, "*B N"]:
        lengths = self.get_buffer("lengths")
        x = x[..., None, :]
        for sign in self.get_buffer("signs"):
            x = hadamard_transform(x * sign)
        return x.flatten(-2)[..., : len(lengths)] * lengths


def signs(*shape: int) -> Tensor:
    """Plus or minus one."""
    return 2.0 * torch.randint(2, shape) - 1.0


def hadamard_transform(x: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
    """The orthonormal Walsh-Hadamard transform by log2 K butterflies."""
    size, reach = x.shape[-1], 1
    while reach < size:
        a, b = x.unflatten(-1, (-1, 2, reach)).unbind(-2)
        x = torch.stack([a + b, a - b], dim=-2).flatten(-3)
        reach *= 2
    return x / size**0.5
