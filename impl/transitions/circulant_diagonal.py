"""Circulant-diagonal: a circulant between two diagonals, so that the order of tokens matters.

    h[t] = diag(d[t]) circ(c[t]) diag(e[t]) h[t-1] + b[t]

3 N numbers a token say the matrix, and two transforms apply it in N log N multiply-adds a step. What
it pays: a product of two such matrices is of the same form only by chance, so there is no scan that
stays in the form, neither in the Fourier domain nor out of it, and depth is T. At the 16 keys of a
head-to-head a step of transforms takes longer than one product with the N x N matrix, so that ``scan``
writes it out: N^2 elements a token and N^2 V multiply-adds, as many as a dense transition's.

|d| and |e| are at most 1 and so are the moduli of c, hence nothing grows; all three reach 1. Of the
permutations only the shifts are of this form: A[i, j] vanishes with c[i - j], on whole diagonals.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.matrix_scan import matrix_scan
from impl.common.spectrum import clipped
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer


@implements(
    "circulant_diagonal_transition",
    source="M. Huhtanen and A. Perämäki, J. Fourier Anal. Appl. 21(5), 2015",
    trick="circulant-diagonal-products",
)
def scan(
    d: Float[Tensor, "B T N"],
    c: Float[Tensor, "B T N"],
    e: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = d[t] circ(c[t]) e[t] h[t-1] + b[t]``, rounded at every step; ``c`` the first column."""
    n = axis_sizes(scan, d, c, e, b, h0)["N"]
    place = torch.arange(n, device=c.device)
    circulant = c[..., (place[:, None] - place) % n]
    return matrix_scan(d[..., :, None] * circulant * e[..., None, :], b, h0)


@implements(
    "circulant_diagonal_transition",
    source="M. Huhtanen and A. Perämäki, J. Fourier Anal. Appl. 21(5), 2015",
    trick="circulant-diagonal-products",
)
def transformed_steps(
    d: Float[Tensor, "B T N"],
    c: Float[Tensor, "B T N"],
    e: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """The same with two transforms a step and no matrix; float32 or wider inside."""
    n = axis_sizes(transformed_steps, d, c, e, b, h0)["N"]
    wide = torch.promote_types(b.dtype, torch.float32)
    spectrum = torch.fft.rfft(c.to(wide))[..., None]
    d, e, b_wide = d.to(wide)[..., None], e.to(wide)[..., None], b.to(wide)
    h = torch.zeros_like(b_wide[:, 0]) if h0 is None else h0.to(wide)
    states = []
    for t in range(b.shape[1]):
        met = spectrum[:, t] * torch.fft.rfft(e[:, t] * h, dim=-2)
        h = d[:, t] * torch.fft.irfft(met, n=n, dim=-2) + b_wide[:, t]
        states.append(h)
    return torch.stack(states, dim=1).to(b.dtype)


@mixer(
    "circulant_diagonal_transition",
    source="M. Huhtanen and A. Perämäki, J. Fourier Anal. Appl. 21(5), 2015",
    trick="circulant-diagonal-products",
)
class CirculantDiagonal(TransitionLayer):
    """The layer with ``A = D(x[t]) C(x[t]) E(x[t])``, no factor of norm above 1."""

    def __init__(self, width: int, *, heads: int = 1, keys: int = 16, values: int = 8) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        self.d, self.c, self.e = (nn.Linear(width, keys) for _ in range(3))
        with torch.no_grad():
            self.c.bias.copy_(torch.eye(keys)[0])
        for diagonal in (self.d, self.e):
            nn.init.ones_(diagonal.bias)

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        d, e = (diagonal(x).clamp(-1.0, 1.0) for diagonal in (self.d, self.e))
        return scan(d, clipped(self.c(x)), e, b, h0)
