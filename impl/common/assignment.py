"""Assignment: the permutation of highest score, with the gradient of the mean over all of them.

    score(pi) = sum over j of X[pi(j), j],   hard = argmax,   soft = sum of softmax(score)[pi] pi

Every permutation of n is scored, so the choice is the best assignment and no greedy one, and the mean
is doubly stochastic without Sinkhorn's iterations, which approach it. What it pays: n! scores, hence
small n alone.
"""

import functools
import itertools

import torch
from jaxtyping import Float
from torch import Tensor

LARGEST = 6
"""Of 7 places there would be 5040 permutations to score, each for every token."""


def assignment(x: Float[Tensor, "*batch N N"]) -> Float[Tensor, "*batch N N"]:
    """A permutation matrix, 1 in row ``pi(j)`` of column j; backward that of the softmax's mean.

    Of equal scores the permutation first in lexicographic order is taken.
    """
    table = _permutations(x.shape[-1]).to(x)
    scores = x.flatten(-2) @ table.mT
    soft = torch.softmax(scores, dim=-1) @ table
    hard = table[scores.argmax(dim=-1)]
    # the bracket is exactly zero, so that the values stay exactly 0 and 1
    return (hard + (soft - soft.detach())).unflatten(-1, x.shape[-2:])


def sign(x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """1 where ``x`` is at least 0, else -1; backward that of ``tanh x``."""
    soft = torch.tanh(x)
    return torch.where(x >= 0, 1.0, -1.0).to(x) + (soft - soft.detach())


@functools.cache
def _permutations(n: int) -> Tensor:
    """One permutation matrix a row, its entries behind one another; the identity is the first."""
    if n > LARGEST:
        raise ValueError(f"n={n} places to permute, want at most {LARGEST}")
    orders = torch.tensor(list(itertools.permutations(range(n))))
    return torch.nn.functional.one_hot(orders, n).mT.flatten(1).to(torch.float32)
