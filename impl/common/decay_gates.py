"""Decay gates: what a token keeps of each channel of the state, in two parameterisations of one range.

    sigmoid   alpha = 1 / (1 + exp(-f))
    stable    alpha = 1 - 1 / (f^2 + b)

A memory of 1 / (1 - alpha) steps is 1 + exp(f) of the one and f^2 + b of the other, so that the gradient
of a memory by f grows with the memory itself, or with its square root. b is next to 1, where f = 0
forgets all but ``LEAST``: 1 would forget it all, whose logarithm is no number.
"""

import torch
from torch import Tensor
from torch.nn import functional

LEAST = 2.0**-7
"""The smallest stable decay."""
KINDS = ("sigmoid", "stable")
SHORT, LONG = 4.0, 150.0
"""Tokens that a channel remembers before training, the least and the most."""


def log_decay(f: Tensor, kind: str) -> Tensor:
    """``log alpha``, at most 0."""
    if kind == "sigmoid":
        return functional.logsigmoid(f)
    return torch.log1p(-1 / (f.square() + 1 / (1 - LEAST)))


def first_bias(bias: Tensor, kind: str) -> None:
    """Fill a bias so that memories are log-uniform between ``SHORT`` and ``LONG``, in place."""
    if kind not in KINDS:
        raise ValueError(f"decay={kind!r}, want 'sigmoid' or 'stable'")
    with torch.no_grad():
        memory = SHORT * (LONG / SHORT) ** torch.rand_like(bias)
        found = (memory - 1).log() if kind == "sigmoid" else (memory - 1 / (1 - LEAST)).sqrt()
        bias.copy_(found)
