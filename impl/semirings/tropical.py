"""Tropical recurrence: the largest of what was written, less what has worn off.

    h[t] = max(a[t] + h[t-1], b[t]) = max over s <= t of a[s+1] + ... + a[t] + b[s]

No state is further from another than the b, or the first states, that made them are from theirs: the
map is 1-Lipschitz in the largest difference, whatever T. One winner a channel and step takes the whole
gradient. Its smooth neighbour at temperature r, r log(exp((a + h) / r) + exp(b / r)), shares it out and
exceeds the maximum by at most r log(t + 1); the mixer may start with it and end with the maximum.

An addition and a comparison an element and step, no product of matrices; ``doubling`` takes log T
times as many in log2 T dependent steps.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.semiring_walk import semiring_walk
from impl.registry import implements, mixer
from impl.semirings.logarithmic import doubled


@implements(
    "tropical_recurrence",
    source="F. Baccelli et al., Synchronization and Linearity, Wiley, 1992",
    trick="tropical-attention",
)
def scan(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """All states by a loop; float32 or wider inside. Of two equal ones each takes half the gradient."""
    axis_sizes(scan, a, b, h0)
    wide = torch.promote_types(b.dtype, torch.float32)
    first = None if h0 is None else h0.to(wide)
    return semiring_walk(a.to(wide), b.to(wide), first, hard=True).to(b.dtype)


@implements(
    "tropical_recurrence",
    source="F. Baccelli et al., Synchronization and Linearity, Wiley, 1992",
    trick="semiring-monoid-lifting",
)
def doubling(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """All states by log2 T shifts of the whole sequence; float32 or wider inside."""
    axis_sizes(doubling, a, b, h0)
    wide = torch.promote_types(b.dtype, torch.float32)
    first = None if h0 is None else h0.to(wide)
    return doubled(a.to(wide), b.to(wide), first, hard=True).to(b.dtype)


@mixer(
    "tropical_recurrence",
    source="F. Baccelli et al., Synchronization and Linearity, Wiley, 1992",
    trick="tropical-attention",
    knobs={"join": ("annealed", "hard", "smooth"), "expand": (1, 2)},
)
class Tropical(nn.Module):
    """``W_c h + d x``; an annealed join cools from temperature 1 to 0 in 4/5 of the training."""

    def __init__(
        self, width: int, *, heads: int = 1, join: str = "annealed", expand: int = 2
    ) -> None:
        super().__init__()
        if join not in ("annealed", "hard", "smooth"):
            raise ValueError(f"join={join!r}, want 'annealed', 'hard' or 'smooth'")
        if heads != 1:
            raise ValueError(f"heads={heads}, want 1: every channel is on its own already")
        self.join, self.states = join, expand * width
        self.temperature = 0.0 if join == "hard" else 1.0
        self.a = nn.Linear(width, self.states)
        self.b = nn.Linear(width, self.states)
        self.c = nn.Linear(self.states, width, bias=False)
        self.d = nn.Parameter(torch.ones(width))
        # a state of 1 is worn off after 4 to 150 tokens
        nn.init.uniform_(self.a.bias, 1.0, 5.0)

    def anneal(self, share: float) -> None:
        """Set the temperature for the ``share`` of the training that is done, 0 to 1."""
        if self.join == "annealed":
            self.temperature = max(0.0, 1.0 - share / 0.8)

    def walk(
        self, x: Float[Tensor, "B T D"], h0: Float[Tensor, "B N"] | None
    ) -> Float[Tensor, "B T N"]:
        """All states at the present temperature."""
        a, b = nn.functional.logsigmoid(self.a(x)), self.b(x)
        if self.temperature == 0.0:
            return semiring_walk(a, b, h0, hard=True)
        first = None if h0 is None else h0 / self.temperature
        cold = semiring_walk(a / self.temperature, b / self.temperature, first, hard=False)
        return cold * self.temperature

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.c(self.walk(x, None)) + self.d * x

    def step(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B N"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B N"]]:
        """One token of the recurrence above."""
        state = self.walk(x[:, None], state)[:, 0]
        return self.c(state) + self.d * x, state

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "B N"]:
        """Minus infinity: nothing was written."""
        return torch.full((batch, self.states), -torch.inf, device=device, dtype=dtype)

    def state_size(self, length: int) -> int:
        """Elements of ``h``, at any length."""
        return self.states
