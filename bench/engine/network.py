"""The model around a mixer: embedding, blocks of mixer and MLP, head."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from impl.common.mixing import Mixer

TAPS = 4
"""Tokens that the short convolution sees, itself included."""


class Network(nn.Module):
    """``x + mixer(conv(norm(x)))``, ``x + mlp(norm(x))``, a layer for each of ``mixers``."""

    def __init__(
        self,
        mixers: Sequence[nn.Module],
        *,
        vocabulary: int,
        classes: int,
        width: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.head = nn.Linear(width, classes)
        self.mixers = nn.ModuleList(mixers)
        self.convolutions = nn.ModuleList(ShortConvolution(width) for _ in mixers)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
            for _ in mixers
        )
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2 * len(mixers) + 1))

    def forward(
        self, tokens: Int[Tensor, "B T"], asked: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "asked classes"]:
        """Logits of the positions that are ``asked``, in their order."""
        x = self.embedding(tokens)
        for layer, mixer in enumerate(self.mixers):
            x = x + mixer(self.convolutions[layer](self.norms[2 * layer](x)))
            x = x + self.mlps[layer](self.norms[2 * layer + 1](x))
        return self.head(self.norms[-1](x[asked]))

    def state_size(self, length: int) -> int:
        """Elements that the mixers of all layers keep of a sequence of ``length`` tokens."""
        return sum(cast("Mixer", mixer).state_size(length) for mixer in self.mixers)


class ShortConvolution(nn.Module):
    """Causal depthwise convolution over ``TAPS`` tokens, close to the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.2 * torch.randn(TAPS, width))
        with torch.no_grad():
            self.weight[0] += 1

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        padded = functional.pad(x, (0, 0, TAPS - 1, 0))
        taps = (padded[:, TAPS - 1 - i : padded.shape[1] - i] for i in range(TAPS))
        return sum((w * tap for w, tap in zip(self.weight, taps, strict=True)), torch.zeros(()))
