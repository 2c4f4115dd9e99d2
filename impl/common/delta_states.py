"""Delta states: walks the chunks of a delta rule once what each writes is known up to its start.

A chunk that starts from state S writes the corrected values u = y - w S under its keys:

    S[n+1] = decay[n] S[n] + k[n]^T (y[n] - w[n] S[n])

Two products of C K V multiply-adds a chunk, N dependent steps. How w and y come about is the whole
difference between the forms of the delta rule.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def delta_states(
    k: Float[Tensor, "B H N C K"],
    w: Float[Tensor, "B H N C K"],
    y: Float[Tensor, "B H N C V"],
    h0: Float[Tensor, "B H K V"] | None,
    decay: Float[Tensor, "B H N #K 1"] | None = None,
) -> tuple[Float[Tensor, "B H N C V"], Float[Tensor, "B H N K V"], Float[Tensor, "B H K V"]]:
    """The corrected values, the state each chunk starts from, and the last state."""
    state = y.new_zeros(*k.shape[:2], k.shape[-1], y.shape[-1]) if h0 is None else h0.to(y.dtype)
    starts, corrected = [], []
    for n in range(k.shape[2]):
        starts.append(state)
        corrected.append(y[:, :, n] - w[:, :, n] @ state)
        kept = state if decay is None else decay[:, :, n] * state
        state = kept + k[:, :, n].mT @ corrected[-1]
    return torch.stack(corrected, 2), torch.stack(starts, 2), state
