"""Selective diagonal: every channel of the state decays by itself, as the token says.

    h[t] = a[t] * h[t-1] + sigmoid(W_i u[t]) * (W_b u[t]),   y[t] = W_c h[t] + d * u[t]

with a = sigmoid(W_a u) in (0, 1), or tanh(W_a u) in (-1, 1). The state is ``expand`` D elements, the
smallest here. It pays in what it can compute: diagonal transitions commute, so no depth of this
layer alone follows a product that does not.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.diagonal_recurrence import diagonal_recurrence
from impl.registry import mixer


@mixer(
    "linear_recurrence",
    source="A. Gu and T. Dao, 2023, arXiv:2312.00752; R. Grazzi et al., ICLR 2025",
    knobs={"spectrum": ("positive", "signed"), "expand": (1, 2)},
)
class Diagonal(nn.Module):
    """``W_c h + d u`` of a selective diagonal recurrence with ``expand`` states a channel."""

    def __init__(
        self, width: int, *, heads: int = 1, spectrum: str = "positive", expand: int = 2
    ) -> None:
        super().__init__()
        if spectrum not in ("positive", "signed"):
            raise ValueError(f"spectrum={spectrum!r}, want 'positive' or 'signed'")
        if heads != 1:
            raise ValueError(f"heads={heads}, want 1: every channel is on its own already")
        self.spectrum, self.states = spectrum, expand * width
        self.a, self.i = nn.Linear(width, self.states), nn.Linear(width, self.states)
        self.b = nn.Linear(width, self.states, bias=False)
        self.c = nn.Linear(self.states, width, bias=False)
        self.d = nn.Parameter(torch.ones(width))
        # decays of 0.73 to 0.99 remember 4 to 150 tokens; signed ones cover both halves
        low, high = (1.0, 5.0) if spectrum == "positive" else (-2.0, 2.0)
        nn.init.uniform_(self.a.bias, low, high)

    def project(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Decay and input of the recurrence."""
        squash = torch.sigmoid if self.spectrum == "positive" else torch.tanh
        return squash(self.a(u)), torch.sigmoid(self.i(u)) * self.b(u)

    def forward(self, u: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        h = diagonal_recurrence(*self.project(u))
        return self.c(h) + self.d * u

    def step(
        self, u: Float[Tensor, "B D"], state: Float[Tensor, "B N"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B N"]]:
        """One token of the recurrence above."""
        a, b = self.project(u)
        state = a * state + b
        return self.c(state) + self.d * u, state

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "B N"]:
        """Zeros."""
        return torch.zeros(batch, self.states, device=device, dtype=dtype)

    def state_size(self, length: int) -> int:
        """Elements of ``h``, at any length."""
        return self.states
