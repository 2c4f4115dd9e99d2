"""The generalised delta rule (RWKV-7): what is removed is not tied to what is written."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import HEADS, log_decay, normal, op, unit


def share(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """A share in (0, 1) of what is recalled, to be removed; extreme: none, half and all of it."""
    if extreme:
        choice = torch.randint(3, shape, generator=rng)
        return torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)[choice]
    return torch.sigmoid(normal(shape, rng, extreme=False))


@op(
    kappa=unit,
    eta=share,
    g=log_decay,
    linear_in=("v", "h0"),
    state="h0",
    packs=True,
    state_ignores=("q",),
    sizes=HEADS,
)
def generalised_delta_rule(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    kappa: Float[Tensor, "B T H K"],
    eta: Float[Tensor, "B T H K"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (diag(exp(g)) - (eta * kappa) kappa^T) S[t-1] + k v^T``, ``o[t] = S[t]^T q[t]``.

    ``g <= 0``, ``kappa`` of length one, and ``eta`` in [0, 1] for every channel.
    """
    batch, length, heads, width = k.shape
    state = k.new_zeros(batch, heads, width, v.shape[-1]) if h0 is None else h0
    outputs = []
    for t in range(length):
        recalled = torch.einsum("bhk,bhkv->bhv", kappa[:, t], state)
        removed = torch.einsum("bhk,bhv->bhkv", eta[:, t] * kappa[:, t], recalled)
        state = g[:, t].exp()[..., None] * state - removed
        state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state
