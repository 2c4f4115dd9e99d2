"""Halved decays: products of steps whose channels decay in between, every exponent at most 0.

    A[i, j] = sum_d q[i, d] k[j, d] exp(g[j+1, d] + ... + g[i, d])    for i > j

is a matrix product once the sum is split at a step between j and i, and then both parts are at most 0.
Steps i and j of a chunk part at one halving: a block of 2 s steps whose left half holds j and whose
right half holds i. The sum is split there, at the middle, and each halving is one product. What a
step needs of it runs over its own half alone: from its start for i, to its end for j.

C steps are halved log2(C) times, which costs as many exponentials a step and channel, where secondary
chunking with blocks of 16 costs 16, and no pair of steps is ever written out channel by channel.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


def decayed_scores(
    q: Float[Tensor, "... C K"],
    k: Float[Tensor, "... C K"],
    g: Float[Tensor, "... C K"],
    *,
    before: bool = False,
) -> Float[Tensor, "... C C"]:
    """``A``, with ``q[i] . k[i]`` on the diagonal and zeros above; C is a power of two.

    ``before``: row i sees the decays up to step i - 1 only, and the diagonal is zero.
    """
    # halves[n] is the triangle of block n; two neighbours make a block of the next size
    halves = (torch.zeros_like(q[..., 0]) if before else (q * k).sum(-1))[..., None, None]
    while halves.shape[-3] > 1:
        size = halves.shape[-1]
        late, early, rest, ends = (
            x.unflatten(-2, (-1, 2, size))[..., half, :, :]
            for x, half in ((q, 1), (k, 0), (g, 1), (g, 0))
        )
        late = late * (sums_before(rest) if before else rest.cumsum(-2)).exp()
        joint = late @ (early * sums_behind(ends).exp()).mT  # [..., n, size, size]
        upper = torch.cat([halves[..., 0::2, :, :], torch.zeros_like(joint)], dim=-1)
        halves = torch.cat([upper, torch.cat([joint, halves[..., 1::2, :, :]], dim=-1)], dim=-2)
    return halves.squeeze(-3)


def sums_before(g: Float[Tensor, "... C K"]) -> Float[Tensor, "... C K"]:
    """``g[1] + ... + g[i-1]`` for each step i."""
    return pad(g[..., :-1, :], (0, 0, 1, 0)).cumsum(-2)


def sums_behind(g: Float[Tensor, "... C K"]) -> Float[Tensor, "... C K"]:
    """``g[j+1] + ... + g[C]`` for each step j."""
    return pad(g[..., 1:, :], (0, 0, 0, 1)).flip(-2).cumsum(-2).flip(-2)
