"""Diagonal: every coordinate of the state decays, flips its sign or turns by itself.

    h[t] = diag(a[t]) h[t-1] + b[t],   a in (0, 1), in (-1, 1), or complex with |a| < 1

N elements a token to produce and N V multiply-adds to apply, the least of all transitions; a complex
a turns two coordinates, i and i + N/2, of the same real state. What it pays: diagonal matrices
commute, so the state cannot depend on the order of the tokens' transitions, and sums, the b, have to
stand in for it. Positive ones cannot even follow a parity without end.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.diagonal_recurrence import diagonal_recurrence
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer


@implements("diagonal_transition", source="A. Gu et al., NeurIPS 2022, arXiv:2206.11893")
def scan(
    a: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = a[t] h[t-1] + b[t]``, every row of ``h`` by itself; float32 or wider inside."""
    axis_sizes(scan, a, b, h0)
    wide = torch.promote_types(b.dtype, torch.float32)
    return row_recurrence(a.to(wide), b.to(wide), None if h0 is None else h0.to(wide)).to(b.dtype)


@implements(
    "rotation_transition",
    source="A. Orvieto et al., ICML 2023, arXiv:2303.06349",
    accepts={"N": {"multiple_of": 2}},
)
def rotation_scan(
    a: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """The same with rows ``i`` and ``i + N/2`` as parts of one complex number, of ``a`` and ``h``."""
    if (n := axis_sizes(rotation_scan, a, b, h0)["N"]) % 2:
        raise ValueError(f"N={n}, want a multiple of 2: a complex number has two parts")
    wide = torch.promote_types(b.dtype, torch.float32)
    first = None if h0 is None else torch.complex(*h0.to(wide).chunk(2, dim=-2))
    turns = torch.complex(*a.to(wide).chunk(2, dim=-1))
    h = row_recurrence(turns, torch.complex(*b.to(wide).chunk(2, dim=-2)), first)
    return torch.cat([h.real, h.imag], dim=-2).to(b.dtype)


def row_recurrence(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    """``h[t] = a[t] h[t-1] + b[t]`` with one factor a row, in the dtype of the inputs."""
    a = a[..., None].expand_as(b)
    if h0 is not None:
        b = torch.cat([(a[:, 0] * h0 + b[:, 0])[:, None], b[:, 1:]], dim=1)
    return diagonal_recurrence(a.flatten(-2), b.flatten(-2)).unflatten(-1, b.shape[-2:])


@mixer(
    "diagonal_transition",
    source="A. Gu and T. Dao, 2023, arXiv:2312.00752; R. Grazzi et al., ICLR 2025, arXiv:2411.12537",
    knobs={"spectrum": ("positive", "signed", "complex")},
)
class Diagonal(TransitionLayer):
    """The layer with ``A = diag(a(x[t]))``; ``spectrum`` says where ``a`` may lie."""

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        keys: int = 16,
        values: int = 8,
        spectrum: str = "positive",
    ) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        if spectrum not in ("positive", "signed", "complex"):
            raise ValueError(f"spectrum={spectrum!r}, want 'positive', 'signed' or 'complex'")
        if spectrum == "complex" and keys % 2:
            raise ValueError(f"keys={keys}, want a multiple of 2: a complex number has two parts")
        self.spectrum = spectrum
        self.a = nn.Linear(width, keys)
        # decays of 0.73 to 0.99 remember 4 to 150 tokens; signed ones cover both halves
        low, high = (-2.0, 2.0) if spectrum == "signed" else (1.0, 5.0)
        nn.init.uniform_(self.a.bias, low, high)
        if spectrum == "complex":
            # phases all around the circle
            nn.init.uniform_(self.a.bias[keys // 2 :], -math.pi, math.pi)

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        a = self.a(x)
        if self.spectrum == "complex":
            return rotation_scan(spiral(a), b, h0)
        return scan(torch.sigmoid(a) if self.spectrum == "positive" else torch.tanh(a), b, h0)


def spiral(a: Float[Tensor, "B T N"]) -> Float[Tensor, "B T N"]:
    """Real and imaginary parts of decays: moduli from the first half, phases from the second."""
    size, phase = a.chunk(2, dim=-1)
    size = torch.sigmoid(size)
    return torch.cat([size * phase.cos(), size * phase.sin()], dim=-1)
