"""Monomial: shuffles the rows of a grid, then its columns, and scales; one entry a row and column.

    h[t] = A[t] h[t-1] + b[t],   A = P L P^T R D,

with the N = G^2 coordinates on a grid (g, j), R permuting inside every row to (g, r[g, j]), L inside
every column (P transposes the grid), and D = diag(d), |d| <= 1. A diagonal in each factor would say no
more: both together are one. Coordinate (g, j) lands at (l[i, g], i) with i = r[g, j]. Every A is
monomial and so is every product: targets compose and scales multiply, N operations where dense
matrices need N^3. But a product of two is no single A; two steps reach every permutation of N, so the
A generate all monomial matrices, and swaps of five coordinates, S_5, are single ones
(``correctness/test_closure.py``). A step costs N V multiply-adds against N^2 V.
What it pays: a discrete choice, whose borrowed gradient goes through a dense matrix.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.assignment import assignment
from impl.common.axes import axis_sizes
from impl.common.column_sparse_scan import column_sparse_scan
from impl.common.matrix_scan import matrix_scan
from impl.common.monarch_blocks import monarch_matrix
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer


@implements(
    "monomial_transition",
    source="M. Gorbunov et al., NeurIPS 2024, arXiv:2406.10019",
    trick="monomial-matrix-closure",
)
def scan(
    l: Float[Tensor, "B T G G"],
    r: Float[Tensor, "B T G G"],
    d: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = P L[t] P^T R[t] D[t] h[t-1] + b[t]``; float32 or wider inside.

    ``l`` and ``r`` hold whole numbers and have gradients of zero.
    """
    sizes = axis_sizes(scan, l, r, d, b, h0)
    size = sizes["G"]
    if sizes["N"] != size**2:
        raise ValueError(f"N={sizes['N']}, want G^2 = {size**2}")
    row_of, column_of = l.round(), r.round()
    columns = column_of.long()
    # (g, j) -> (l[i, g], i): the row that column i of L gives to g
    rows = row_of.long().transpose(-2, -1).gather(-1, columns)
    unmoved = 0.0 * (row_of + column_of).flatten(-2)
    return column_sparse_scan((size * rows + columns).flatten(-2), d + unmoved, b, h0)


@mixer(
    "monomial_transition",
    source="M. Gorbunov et al., NeurIPS 2024, arXiv:2406.10019",
    trick="group-and-shuffle",
)
class Monomial(TransitionLayer):
    """The layer with monomial ``A(x[t])``, chosen straight-through, scaled by cosines.

    A cosine reaches 1 and -1 exactly, so that a long product of signs does not fade.
    """

    def __init__(self, width: int, *, heads: int = 1, keys: int = 16, values: int = 8) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        self.size = math.isqrt(keys)
        if self.size**2 != keys or self.size < 2:
            raise ValueError(f"keys={keys}, want the square of 2 or more")
        self.p = nn.Linear(width, 2 * self.size**3)
        self.angle = nn.Linear(width, keys)
        with torch.no_grad():
            self.p.bias.copy_(torch.eye(self.size).flatten().repeat(2 * self.size))
            self.angle.bias.zero_()

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        scores = self.p(x).unflatten(-1, (2, self.size, self.size, self.size))
        l, r = assignment(scores).unbind(-4)
        d = torch.cos(self.angle(x))
        if torch.is_grad_enabled():
            # the borrowed gradient belongs to every entry of A, not to the taken ones alone
            return matrix_scan(monarch_matrix(r, l) * d[..., None, :], b, h0)
        return scan(l.argmax(dim=-2).to(d), r.argmax(dim=-2).to(d), d, b, h0)
