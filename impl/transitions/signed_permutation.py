"""Signed permutation: coordinates change places and signs, and nothing is ever lost.

    h[t] = A[t] h[t-1] + b[t],   A[|w[j]| - 1, j] = sign(w[j]),

w the window of an element of the hyperoctahedral group B_N: the numbers 1 to N in any order with any
signs. The group is closed and orthogonal, so with Q[t] = A[t] ... A[0]

    h[t] = Q[t] (h[-1] + sum over s <= t of Q[s]^T b[s]),

where the Q[t] come out of log2 T rounds of composing N indices and everything else is a gather and
a running sum: N V additions a step against N^2 V multiply-adds. What it pays: no decay, so nothing is
forgotten either, and a discrete choice among 2^N N! elements whose gradient is borrowed.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.assignment import assignment, sign
from impl.common.axes import axis_sizes
from impl.common.column_sparse_scan import doubled
from impl.common.matrix_scan import matrix_scan
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer

PLACES = 5
"""Coordinates that change places with one another: S_5 needs five, and B_5 holds B_3, B_4 and Z_8."""


@implements(
    "signed_permutation_transition",
    source="J. E. Humphreys, Reflection Groups and Coxeter Groups, Cambridge University Press, 1990, "
    "doi:10.1017/CBO9780511623646",
    trick="signed-permutations-hyperoctahedral",
)
def scan(
    w: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``, ``A[|w[j]| - 1, j] = sign(w[j])``; float32 or wider inside.

    ``w`` holds whole numbers other than 0 and has a gradient of zero.
    """
    axis_sizes(scan, w, b, h0)
    wide = torch.promote_types(b.dtype, torch.float32)
    whole = w.round()
    p, s = whole.abs().long() - 1, whole.sign().to(wide)
    span = 1
    while span < b.shape[1]:
        p, s = doubled(p, s, span)
        span *= 2
    places, signs = p[..., None].expand_as(b), s[..., None]
    undone = (signs * b.to(wide).gather(-2, places)).cumsum(dim=1)
    if h0 is not None:
        undone = undone + h0.to(wide)[:, None]
    return torch.zeros_like(undone).scatter(-2, places, signs * undone).to(b.dtype)


@mixer(
    "signed_permutation_transition",
    source="J. E. Humphreys, Reflection Groups and Coxeter Groups, Cambridge University Press, 1990, "
    "doi:10.1017/CBO9780511623646",
    trick="signed-permutations-hyperoctahedral",
)
class SignedPermutation(TransitionLayer):
    """The layer with signed permutations of five coordinates at a time, each five on their own.

    The choice is straight-through: the best of all permutations forward, the mean over them backward.
    Coordinates left over keep their places and may change their signs.
    """

    def __init__(self, width: int, *, heads: int = 1, keys: int = 16, values: int = 8) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        self.places = min(PLACES, keys)
        self.copies = keys // self.places
        self.p = nn.Linear(width, self.copies * self.places**2)
        self.s = nn.Linear(width, keys)
        with torch.no_grad():
            self.p.bias.copy_(torch.eye(self.places).flatten().repeat(self.copies))
            self.s.bias.fill_(1.0)

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        scores = self.p(x).unflatten(-1, (self.copies, self.places, self.places))
        a = self._block_diagonal(assignment(scores)) * sign(self.s(x))[..., None, :]
        if torch.is_grad_enabled():
            # the borrowed gradient belongs to every entry of A, not to the taken ones alone
            return matrix_scan(a, b, h0)
        rows = torch.arange(1, self.keys + 1, dtype=a.dtype, device=a.device)
        return scan(rows @ a, b, h0)

    def _block_diagonal(self, p: Float[Tensor, "*batch C M M"]) -> Float[Tensor, "*batch N N"]:
        apart = torch.eye(self.copies, dtype=p.dtype, device=p.device)[:, None, :, None]
        moved = (p[..., None, :] * apart).flatten(-2).flatten(-3, -2)
        left = self.keys - moved.shape[-1]
        kept = torch.ones(self.keys, dtype=p.dtype, device=p.device)
        kept[: self.keys - left] = 0.0
        return functional.pad(moved, (0, left, 0, left)) + torch.diag(kept)
