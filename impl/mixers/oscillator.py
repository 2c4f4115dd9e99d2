"""Oscillator bank: damped rotations that never look at what they rotate.

    h[t] = lambda h[t-1] + gamma W_b u[t],   y[t] = W_c [Re h[t], Im h[t]] + d * u[t]

with lambda = exp(-exp(nu) + i theta) complex and fixed in time, and gamma = sqrt(1 - |lambda|^2) so
that every mode keeps the input's variance. Linear and time-invariant: it remembers *when*, not
*what*, and so is the model that must fail where content decides what is kept. The state is 2 D
complex numbers, 4 D elements.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from impl.common.diagonal_recurrence import diagonal_recurrence
from impl.registry import mixer


@mixer("linear_recurrence", source="A. Orvieto et al., ICML 2023, arXiv:2303.06349")
class Oscillator(nn.Module):
    """``W_c h + d u`` of ``2 width`` damped oscillators with learned, constant frequencies."""

    def __init__(self, width: int, *, heads: int = 1) -> None:
        super().__init__()
        if heads != 1:
            raise ValueError(f"heads={heads}, want 1: every oscillator is on its own already")
        self.modes = 2 * width
        self.b = nn.Linear(width, 2 * self.modes, bias=False)
        self.c = nn.Linear(2 * self.modes, width, bias=False)
        self.d = nn.Parameter(torch.ones(width))
        # |lambda| of 0.9 to 0.999, any frequency
        radius = torch.empty(self.modes).uniform_(0.9, 0.999)
        self.nu = nn.Parameter((-radius.log()).log())
        self.theta = nn.Parameter(torch.empty(self.modes).uniform_(0.0, math.pi))

    def project(self, u: Tensor) -> tuple[Complex[Tensor, " N"], Complex[Tensor, "*B N"]]:
        """``lambda``, the same for every token, and the scaled input."""
        rate = self.nu.exp()
        real, imaginary = self.b(u).chunk(2, dim=-1)
        gamma = (-torch.expm1(-2 * rate)).sqrt()
        rotation = torch.polar((-rate).exp(), self.theta)
        return rotation, torch.complex(gamma * real, gamma * imaginary)

    def readout(self, h: Complex[Tensor, "*B N"], u: Float[Tensor, "*B D"]) -> Tensor:
        """``W_c [Re h, Im h] + d u``."""
        return self.c(torch.cat([h.real, h.imag], dim=-1)) + self.d * u

    def forward(self, u: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.readout(diagonal_recurrence(*self.project(u)), u)

    def step(
        self, u: Float[Tensor, "B D"], state: Complex[Tensor, "B N"]
    ) -> tuple[Float[Tensor, "B D"], Complex[Tensor, "B N"]]:
        """One token of the recurrence above."""
        rotation, b = self.project(u)
        state = rotation * state + b
        return self.readout(state, u), state

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Complex[Tensor, "B N"]:
        """Zeros."""
        return torch.zeros(batch, self.modes, device=device, dtype=dtype.to_complex())

    def state_size(self, length: int) -> int:
        """Elements at any length: a complex number counts as two."""
        return 2 * self.modes
