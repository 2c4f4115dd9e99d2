"""Cayley-circulant: an orthogonal transition that turns every frequency of the state by an angle.

    h[t] = A[t] h[t-1] + b[t],   A = (I - S) (I + S)^-1,   S = C - C^T,   C skew-circulant

Skew-circulant: C[i, j] = c[i - j], with its sign changed where the index wraps. That alone makes
nothing orthogonal; S is skew-symmetric as well. Its eigenvectors are waves of odd half-frequencies,
w[k][j] = exp(i pi (2k + 1) j / N), its eigenvalues i sigma[k], and A turns wave k by -2 atan sigma[k].
(A skew-symmetric circulant would leave frequencies 0 and N/2 unturned.) In their coordinates

    h^[t] = turn[t] sum over s <= t of conj(turn[s]) b^[s],   turn[t] = exp(i sum of angles up to t)

is one sum of angles and one of states: N log N work a step, depth log T, and no product that fades.
What it pays: these matrices commute, forget nothing, and never turn by exactly pi, so that -1, the
eigenvalue of every swap, is only approached.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.axes import axis_sizes
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer


@implements(
    "cayley_circulant_transition",
    source="P. J. Davis, Circulant Matrices, Wiley, 1979; K. Helfrich et al., ICML 2018, "
    "arXiv:1707.09520",
    trick="skew-circulant",
)
def scan(
    c: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``; ``c`` the first column of ``C``. Angles add up in float64."""
    n = axis_sizes(scan, c, b, h0)["N"]
    wide = torch.promote_types(b.dtype, torch.float32)
    # an eigenvalue of C - C^T is twice the imaginary part of that of C
    angles = -2 * torch.atan(2 * waves(c.to(wide)[..., None]).imag)
    # a sum of T angles loses what float32 has left beside T pi
    turned = angles.double().cumsum(dim=1)
    turn = torch.polar(torch.ones_like(turned), turned).to(torch.promote_types(wide, torch.cfloat))
    written = turn.conj() * waves(b.to(wide))
    if h0 is not None:
        written = torch.cat([waves(h0.to(wide))[:, None] + written[:, :1], written[:, 1:]], dim=1)
    return coordinates(turn * written.cumsum(dim=1), n).to(b.dtype)


def waves(x: Float[Tensor, "*batch N V"]) -> Complex[Tensor, "*batch M V"]:
    """``sum over j of x[j] exp(-i pi (2k + 1) j / N)``, up to ``N/2``: the rest are conjugates."""
    return torch.fft.rfft(x, n=2 * x.shape[-2], dim=-2)[..., 1::2, :]


def coordinates(x: Complex[Tensor, "*batch M V"], n: int) -> Float[Tensor, "*batch N V"]:
    """The real ``n`` x V of which these are the ``waves``."""
    odd = torch.stack([torch.zeros_like(x), x], dim=-2).flatten(-3, -2)
    return 2 * torch.fft.irfft(odd, n=2 * n, dim=-2)[..., :n, :]


@mixer(
    "cayley_circulant_transition",
    source="K. Helfrich et al., ICML 2018, arXiv:1707.09520",
    trick="skew-circulant",
)
class CayleyCirculant(TransitionLayer):
    """The layer with an orthogonal ``A(x[t])`` of N/2 free angles."""

    def __init__(self, width: int, *, heads: int = 1, keys: int = 16, values: int = 8) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        # lag N - j of C does to S what lag j does, and lag 0 nothing
        self.c = nn.Linear(width, keys // 2)

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        c = self.c(x)
        return scan(functional.pad(c, (1, self.keys - 1 - c.shape[-1])), b, h0)
