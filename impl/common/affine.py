"""Affine maps: what a scan composes, and how a matrix, diagonal or dense, acts.

A step ``h -> A h + b`` is the pair (A, b). A later step after an earlier one is

    (A2, b2) o (A1, b1) = (A2 A1, A2 b1 + b2),

which is associative, so any bracketing of T steps gives the same states up to rounding.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Kind(NamedTuple):
    """How the matrices of a recurrence are stored."""

    multiply: Callable[[Tensor, Tensor], Tensor]
    """A2 A1"""
    apply: Callable[[Tensor, Tensor], Tensor]
    """A b"""


def _matvec(a: Tensor, x: Tensor) -> Tensor:
    return torch.matmul(a, x[..., None])[..., 0]


DIAGONAL = Kind(torch.mul, torch.mul)
DENSE = Kind(torch.matmul, _matvec)


def absorb(kind: Kind, a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    """``b`` with the initial state folded into its first step: the recurrence then starts at zero."""
    if h0 is None:
        return b
    first = kind.apply(a[:, 0], h0) + b[:, 0]
    return torch.cat([first[:, None], b[:, 1:]], dim=1)


def interleave(even: Tensor, odd: Tensor) -> Tensor:
    """Steps 0, 2, 4 ... from ``even`` and 1, 3, 5 ... from ``odd``, which may be one step shorter."""
    pairs = odd.shape[1]
    woven = torch.stack([even[:, :pairs], odd], dim=2).flatten(1, 2)
    return torch.cat([woven, even[:, pairs:]], dim=1)
