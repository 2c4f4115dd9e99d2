"""Circulant: every coordinate of the state meets every other one, in the Fourier domain without a mix.

    h[t] = circ(c[t]) h[t-1] + b[t],   F circ(c) F^-1 = diag(F c),

so with hats for Fourier transforms along the state, h^[t] = c^[t] * h^[t-1] + b^[t] is a diagonal
recurrence: N log N multiply-adds a step for the transforms and N for the step, against N^2. A modulus
|c^| above 1 is cut to 1, which is the nearest circulant of norm at most 1: pure rotations, the cyclic
shifts among them, are reached and kept, and no product of any length grows. What it pays: circulants
commute, so the state cannot depend on the order of the tokens' transitions.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.diagonal_recurrence import diagonal_recurrence
from impl.common.spectrum import clipped
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer


@implements(
    "circulant_transition",
    source="P. J. Davis, Circulant Matrices, Wiley, 1979",
    trick="block-circulant-fft",
)
def scan(
    c: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = circ(c[t]) h[t-1] + b[t]``, ``c`` the first column; float32 or wider inside."""
    n = axis_sizes(scan, c, b, h0)["N"]
    wide = torch.promote_types(b.dtype, torch.float32)
    rotated = torch.fft.rfft(b.to(wide), dim=-2)
    turns = torch.fft.rfft(c.to(wide), dim=-1)[..., None].expand_as(rotated)
    if h0 is not None:
        first = turns[:, 0] * torch.fft.rfft(h0.to(wide), dim=-2) + rotated[:, 0]
        rotated = torch.cat([first[:, None], rotated[:, 1:]], dim=1)
    h = diagonal_recurrence(turns.flatten(-2), rotated.flatten(-2)).unflatten(-1, (-1, b.shape[-1]))
    return torch.fft.irfft(h, n=n, dim=-2).to(b.dtype)


@mixer(
    "circulant_transition",
    source="P. J. Davis, Circulant Matrices, Wiley, 1979",
    trick="block-circulant-fft",
)
class Circulant(TransitionLayer):
    """The layer with ``A = circ(c(x[t]))``, of Fourier moduli at most 1."""

    def __init__(self, width: int, *, heads: int = 1, keys: int = 16, values: int = 8) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        self.c = nn.Linear(width, keys)
        with torch.no_grad():
            self.c.bias.copy_(torch.eye(keys)[0])

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        return scan(clipped(self.c(x)), b, h0)
