"""The model around a mixer: embedding, blocks of mixer and MLP, head.

That of a signal reads samples by a linear map and has no norms, which would take its amplitude away.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor, nn

TAPS = 4
"""Tokens that the short convolution sees, itself included."""


class Network:
    """``x + mixer(conv(norm(x)))``, ``x + mlp(norm(x))``, a layer for each call of ``make``.

    Its weights are drawn from torch's global generator. The torch modules are in ``parts``; the class
    is none itself, so that this folder is read without torch.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        *,
        layers: int,
        vocabulary: int,
        classes: int,
        width: int,
        hidden: int,
        signal: bool = False,
    ) -> None:
        from torch import nn

        mixers = nn.ModuleList(make() for _ in range(layers))
        if signal:
            self.embedding = nn.Linear(vocabulary, width)
        else:
            self.embedding = nn.Embedding(vocabulary, width)
            nn.init.normal_(self.embedding.weight, std=0.5)
        self.head = nn.Linear(width, classes)
        self.mixers = mixers
        self.taps = nn.ParameterList(_taps(width) for _ in range(layers))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
            for _ in range(layers)
        )
        self.norms = nn.ModuleList(
            nn.Identity() if signal else nn.RMSNorm(width) for _ in range(2 * layers + 1)
        )
        trunk = {"mixers": mixers, "taps": self.taps, "mlps": self.mlps, "norms": self.norms}
        self.parts = nn.ModuleDict({"embedding": self.embedding, "head": self.head, **trunk})

    def __call__(
        self,
        tokens: "Int[Tensor, 'B T'] | Float[Tensor, 'B T channels']",
        asked: "Bool[Tensor, 'B T']",
    ) -> "Float[Tensor, 'asked classes']":
        """Logits of the positions that are ``asked``, in their order."""
        return self.answer(self.features(tokens)[asked])

    def features(
        self, tokens: "Int[Tensor, 'B T'] | Float[Tensor, 'B T channels']"
    ) -> "Float[Tensor, 'B T D']":
        """What the last block leaves at every position."""
        x = self.embedding(tokens)
        for layer, mixer in enumerate(self.mixers):
            x = x + mixer(_convolved(self.norms[2 * layer](x), self.taps[layer]))
            x = x + self.mlps[layer](self.norms[2 * layer + 1](x))
        return x

    def answer(self, x: "Float[Tensor, '*B D']") -> "Float[Tensor, '*B classes']":
        """Logits from features."""
        return self.head(self.norms[-1](x))

    def anneal(self, share: float) -> None:
        """Tell every mixer that has a schedule of its own what share of the training is done."""
        for mixer in self.mixers:
            if callable(schedule := getattr(mixer, "anneal", None)):
                schedule(share)

    def parameters(self) -> "Iterator[nn.Parameter]":
        """Everything that is trained."""
        return self.parts.parameters()

    def trunk_size(self) -> int:
        """Trained numbers outside the embedding and the head."""
        trunk = (self.mixers, self.taps, self.mlps, self.norms)
        return sum(p.numel() for part in trunk for p in part.parameters())

    def state_size(self, length: int) -> int:
        """Elements that the mixers of all layers keep of a sequence of ``length`` tokens."""
        mixers: list[Any] = list(self.mixers)
        return sum(mixer.state_size(length) for mixer in mixers)


def _taps(width: int) -> "nn.Parameter":
    """Weights of a depthwise convolution, newest token first, close to the identity."""
    import torch

    weight = 0.2 * torch.randn(TAPS, width)
    weight[0] += 1
    return torch.nn.Parameter(weight)


def _convolved(
    x: "Float[Tensor, 'B T D']", weight: "Float[Tensor, 'taps D']"
) -> "Float[Tensor, 'B T D']":
    """Each channel as a weighted sum of its last ``TAPS`` values."""
    from torch.nn import functional

    length = x.shape[1]
    padded = functional.pad(x, (0, 0, TAPS - 1, 0))
    y = weight[0] * x
    for back in range(1, TAPS):
        y = y + weight[back] * padded[:, TAPS - 1 - back : TAPS - 1 - back + length]
    return y
