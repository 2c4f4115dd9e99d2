"""mLSTM with sigmoid gates (mLSTMsig): a matrix state without normaliser and without stabiliser."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import HEADS, normal, op


def forgetting(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Normal plus 3, before the sigmoid; extreme: a third each of 40, 7 and -20.

    Extreme gates are open but for 1e-17, open but for 1e-3, and shut but for 1e-9.
    """
    if extreme:
        choice = torch.randint(3, shape, generator=rng)
        return torch.tensor([40.0, 7.0, -20.0], dtype=torch.float64)[choice]
    return normal(shape, rng, extreme=False) + 3


@op(
    f=forgetting,
    linear_in=("v", "h0"),
    state="h0",
    packs=True,
    state_ignores=("q",),
    # heads wider than 16 that are no multiple of it, so that a plugin may cut them
    sizes=(*HEADS[:-1], {"B": 1, "T": 131, "H": 1, "K": 24, "V": 40}),
)
def sigmoid_mlstm(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    i: Float[Tensor, "B T H"],
    f: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = sigmoid(f[t]) S[t-1] + sigmoid(i[t]) k[t] v[t]^T``, ``o[t] = S[t]^T q[t]``."""
    batch, length, heads, width = k.shape
    state = k.new_zeros(batch, heads, width, v.shape[-1]) if h0 is None else h0
    outputs = []
    for t in range(length):
        kept, written = f[:, t].sigmoid(), i[:, t].sigmoid()
        state = kept[..., None, None] * state
        state = state + torch.einsum("bh,bhk,bhv->bhkv", written, k[:, t], v[:, t])
        outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(outputs, dim=1), state
