"""Decays: what is left of a state after several steps, and the states that chunks hand on.

A decay over several steps is the exponential of the sum of their logarithms. The sum is taken over
those steps alone: as the difference of two sums from the start of the chunk it would lose the digits
that both share, all of them when one gate in between is almost shut.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def segment_sums(g: Float[Tensor, "... C"]) -> Float[Tensor, "... C C"]:
    """``[i, j] = g[j+1] + ... + g[i]``: 0 on the diagonal, minus infinity above it."""
    steps = torch.arange(g.shape[-1], device=g.device)
    sums = (g[..., None] * (steps[:, None] > steps)).cumsum(-2)
    return sums.masked_fill(steps[:, None] < steps, -torch.inf)


def states_between(
    fresh: Float[Tensor, "B H N ..."],
    kept: Float[Tensor, "B H N ..."],
    state: Float[Tensor, "B H ..."],
) -> tuple[Float[Tensor, "B H N ..."], Float[Tensor, "B H ..."]]:
    """The state before each of N chunks and after the last: ``state' = kept * state + fresh``."""
    before = []
    for n in range(fresh.shape[2]):
        before.append(state)
        state = torch.addcmul(fresh[:, :, n], kept[:, :, n], state)
    return torch.stack(before, dim=2), state
