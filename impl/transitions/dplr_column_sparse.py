"""DPLR column-sparse: a diagonal plus low rank mixes the state, then every coordinate is sent somewhere.

    h[t] = P[t] M[t] h[t-1] + b[t],   M = (diag(d) + u v^T) / max(1, column lengths)

P has a single 1 in every column, picked from a dictionary (``impl/common/routing.py``). A step is a
product with u v^T, 2 N R V multiply-adds, and a gather; dense takes N^2 V. Neither factor is closed
with the other: ranks add under products, a permutation between two of them mixes their diagonals, so
no scan composes steps, and the convolution of S4, which needs one A for all t, is not to be had. The
dense scan runs here: N^2 (R + N V) multiply-adds.

Without ``routed`` it is plain DPLR: R reflections at once, whose swaps and cycles of R + 1 coordinates
are exact, and more at the cost of rank. With it a permutation is exact at any rank; coordinates that
meet in one row stay merged, and the choice is trained by the gradient of a softmax.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.column_bounds import bounded_columns
from impl.common.matrix_scan import matrix_scan
from impl.common.routing import column_routing
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer

RANK = 2
DICTIONARY = 8
"""Matrices to route by: a letter of the small groups each, not one for each element."""
START = 0.3
"""Of the customary spread of weights: the low rank then starts below the diagonal."""


def diagonal_plus_low_rank(
    d: Float[Tensor, "B T N"], u: Float[Tensor, "B T N R"], v: Float[Tensor, "B T N R"]
) -> Float[Tensor, "B T N N"]:
    """``diag(d) + u v^T``."""
    return torch.diag_embed(d) + u @ v.mT


@implements(
    "dplr_column_sparse_transition",
    trick="dplr-structure",
    source="A. Gu, K. Goel, C. Ré, ICLR 2022, arXiv:2111.00396",
)
def scan(
    p: Float[Tensor, "B T N N"],
    d: Float[Tensor, "B T N"],
    u: Float[Tensor, "B T N R"],
    v: Float[Tensor, "B T N R"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = P[t] (diag(d[t]) + u[t] v[t]^T) h[t-1] + b[t]``, rounded to the dtype of the inputs."""
    axis_sizes(scan, p, d, u, v, b, h0)
    return matrix_scan(p @ diagonal_plus_low_rank(d, u, v), b, h0)


@mixer(
    "dplr_column_sparse_transition",
    trick="column-sparse-transition",
    source="A. Terzić et al., NeurIPS 2025, arXiv:2509.22284",
    knobs={"routed": (True, False)},
)
class DplrColumnSparse(TransitionLayer):
    """The layer with ``A(x[t]) = P (diag + low rank)`` that starts near the identity."""

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        keys: int = 16,
        values: int = 8,
        routed: bool = True,
    ) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        self.d = nn.Linear(width, keys)
        factors = [nn.Linear(width, keys * RANK) for _ in range(2)]
        self.factors = nn.ModuleList(factors)
        with torch.no_grad():
            for made in (self.d, *factors):
                made.weight.mul_(START)
                made.bias.mul_(START)
            self.d.bias.fill_(1.0)
        self.routed = routed
        if routed:
            self.p = nn.Linear(width, DICTIONARY)
            # scores of one lead every choice to the identity, scores of noise break the tie later
            noise = torch.randn(DICTIONARY, keys, keys) / keys
            self.dictionary = nn.Parameter(torch.eye(keys) + noise)

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        u, v = (made(x).unflatten(-1, (self.keys, RANK)) for made in self.factors)
        a = bounded_columns(diagonal_plus_low_rank(self.d(x), u, v))
        if self.routed:
            a = column_routing(self.p(x), self.dictionary) @ a
        return matrix_scan(a, b, h0)
