"""Expert choice: heads of the state, each a Monarch recurrence that lets some tokens pass it by.

    h[t] = m[t] (A[t] h[t-1] + b[t]) + (1 - m[t]) h[t-1],   A = P L P^T R,

for every head by itself, m its gate. Expert choice proper gives a head the k tokens of highest score
out of a whole sequence, which looks ahead: whether it takes a token depends on later ones
(``correctness/test_expert_choice.py``). The nearest causal thing is taken here: a token passes when
its score is among the k highest of the last C tokens, so a head works on about k / C of them.
What it pays: C - 1 scores a head more of state, a choice without a gradient of its own, and a head that
has let a token pass has lost it, which no word problem forgives.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.matrix_scan import matrix_scan
from impl.common.monarch_blocks import bounded_blocks, monarch_matrix
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer

EXPERTS = 2
"""Heads that choose: as many numbers a token for their transitions as one dense matrix has."""
TAKEN, WINDOW = 2, 4
"""Of the last ``WINDOW`` tokens a head takes ``TAKEN``: with two heads, one head a token on average."""
MARGIN = 2.0**-10
"""By how much a score is higher; tokens alike then count as equal whatever the rounding."""


@implements(
    "expert_choice_transition",
    source="Y. Zhou et al., NeurIPS 2022, arXiv:2202.09368",
    trick="expert-choice-routing",
)
def scan(
    l: Float[Tensor, "B T H N G"],
    r: Float[Tensor, "B T H N G"],
    m: Float[Tensor, "B T H"],
    b: Float[Tensor, "B T H N P"],
    h0: Float[Tensor, "B H N P"] | None = None,
) -> Float[Tensor, "B T H N P"]:
    """``h[t] = m (P L P^T R h[t-1] + b[t]) + (1 - m) h[t-1]``, rounded at every step."""
    sizes = axis_sizes(scan, l, r, m, b, h0)
    size = sizes["G"]
    if sizes["N"] != size**2:
        raise ValueError(f"N={sizes['N']}, want G^2 = {size**2}")
    gate = m[..., None, None]
    one = torch.eye(size**2, dtype=l.dtype, device=l.device)
    rows, columns = (x.unflatten(-2, (size, size)) for x in (gate * r, l))
    a = monarch_matrix(rows, columns) + (1 - gate) * one
    # heads are sequences of their own
    a, b = (x.transpose(1, 2).flatten(0, 1) for x in (a, gate * b))
    h = matrix_scan(a, b, None if h0 is None else h0.flatten(0, 1))
    return h.unflatten(0, (-1, sizes["H"])).transpose(1, 2)


def taken(scores: Float[Tensor, "B T H"], before: Float[Tensor, "B C H"]) -> Float[Tensor, "B T H"]:
    """1 where fewer than ``TAKEN`` of the ``C`` tokens before score higher, else 0."""
    window = torch.cat([before, scores], dim=1).unfold(1, before.shape[1] + 1, 1)
    higher = (window[..., :-1] > window[..., -1:] + MARGIN).sum(dim=-1)
    return (higher < TAKEN).to(scores.dtype)


@mixer(
    "expert_choice_transition",
    source="Y. Zhou et al., NeurIPS 2022, arXiv:2202.09368",
    trick="expert-choice-routing",
    knobs={"routing": ("hard", "soft")},
)
class ExpertChoice(TransitionLayer):
    """The layer with its values divided among heads that choose.

    ``hard``: the gate is 1 or 0, its gradient that of the score's sigmoid (straight-through).
    ``soft``: the gate is that sigmoid, nothing is chosen, and no score is kept.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        keys: int = 16,
        values: int = 8,
        routing: Literal["hard", "soft"] = "hard",
    ) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        self.size = math.isqrt(keys)
        if self.size**2 != keys:
            raise ValueError(f"keys={keys}, want a square")
        if values % EXPERTS:
            raise ValueError(f"values={values}, want a multiple of the {EXPERTS} heads")
        self.kept = WINDOW - 1 if routing == "hard" else 0
        self.a = nn.Linear(width, EXPERTS * 2 * self.size**3)
        self.score = nn.Linear(width, EXPERTS)
        with torch.no_grad():
            self.a.bias.copy_(torch.eye(self.size).flatten().repeat(EXPERTS * 2 * self.size))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self._outputs(x, self.initial(len(x), x.device, x.dtype))[0]

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Float[Tensor, "B D"], state: tuple[Tensor, Tensor]
    ) -> tuple[Float[Tensor, "B D"], tuple[Tensor, Tensor]]:
        """One more token."""
        y, state = self._outputs(x[:, None], state)
        return y[:, 0], state

    def initial(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[Float[Tensor, "B N V"], Float[Tensor, "B C H"]]:
        """Zeros, and scores that every other beats."""
        h = super().initial(batch, device, dtype)
        return h, h.new_full((batch, self.kept, EXPERTS), -torch.inf)

    def state_size(self, length: int) -> int:
        """Elements of ``h`` and the scores that the next choice looks back on."""
        return super().state_size(length) + self.kept * EXPERTS

    def _outputs(
        self, x: Float[Tensor, "B T D"], state: tuple[Tensor, Tensor]
    ) -> tuple[Float[Tensor, "B T D"], tuple[Tensor, Tensor]]:
        h, before = state
        scores = self.score(x)
        gate = torch.sigmoid(scores)
        if self.kept:
            gate = taken(scores.detach(), before) + (gate - gate.detach())
        numbers = self.a(x).unflatten(-1, (EXPERTS, 2, self.size, -1))
        l, r = bounded_blocks(numbers, self.size).flatten(-3, -2).unbind(-3)
        b, h = (_apart(each) for each in (self.write(x), h))
        states = scan(l, r, gate, b, h).transpose(-3, -2).flatten(-2)
        after = torch.cat([before, scores], dim=1)[:, x.shape[1] :]
        return self.read(x, states), (states[:, -1], after)


def _apart(h: Float[Tensor, "*batch N V"]) -> Float[Tensor, "*batch H N P"]:
    """Every head its own columns of the state."""
    return h.unflatten(-1, (EXPERTS, -1)).transpose(-3, -2)
