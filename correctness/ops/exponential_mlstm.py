"""mLSTM with an exponential input gate: a matrix state, read out over its own normaliser."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import HEADS, normal, op
from correctness.ops.sigmoid_mlstm import forgetting


def writing(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Normal, before the exponential; extreme: a third each of 15, where xLSTM 7B caps it, 0 and -20."""
    if extreme:
        choice = torch.randint(3, shape, generator=rng)
        return torch.tensor([15.0, 0.0, -20.0], dtype=torch.float64)[choice]
    return normal(shape, rng, extreme=False)


@op(
    i=writing,
    f=forgetting,
    state="h0",
    packs=True,
    state_ignores=("q",),
    sizes=(*HEADS[:-1], {"B": 1, "T": 131, "H": 1, "K": 24, "V": 40}),
)
def exponential_mlstm(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    i: Float[Tensor, "B T H"],
    f: Float[Tensor, "B T H"],
    h0: Float[Tensor, "B H K V+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V+1"]]:
    """``[C | n][t] = sigmoid(f) [C | n][t-1] + exp(i) k [v | 1]^T``, ``o = C^T q / max(|n . q|, 1)``.

    The state is C and, as its last column, n. Both are what they are: no running maximum scales them.
    """
    batch, length, heads, width = k.shape
    values = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    state = k.new_zeros(batch, heads, width, values.shape[-1]) if h0 is None else h0
    outputs = []
    for t in range(length):
        kept, written = f[:, t].sigmoid(), i[:, t].exp()
        state = kept[..., None, None] * state
        state = state + torch.einsum("bh,bhk,bhw->bhkw", written, k[:, t], values[:, t])
        found = torch.einsum("bhk,bhkw->bhw", q[:, t], state)
        outputs.append(found[..., :-1] / found[..., -1:].abs().clamp_min(1))
    return torch.stack(outputs, dim=1), state
