"""Column-sparse (PD-SSM): every coordinate of the state is sent to one place and scaled.

    h[t] = A[t] h[t-1] + b[t],   A = P D,   P[:, j] = onehot(p[j]),   D = diag(d), |d| <= 1,

so coordinates may meet but none splits: any automaton of N states is representable. A product of
such matrices is one (``correctness/test_closure.py``): targets compose, scales multiply, in N
operations where dense matrices need N^3. A step costs N V multiply-adds against N^2 V.
What it pays: which of the N^N targets to take is a discrete choice. Its gradient here is borrowed
from a softmax and passes through a dense matrix, so training costs what a dense transition costs.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.column_sparse_scan import column_sparse_scan
from impl.common.matrix_scan import matrix_scan
from impl.common.routing import column_routing
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer

ENTRIES = 8
"""Matrices in the dictionary, as many as the authors take."""


@implements(
    "column_sparse_transition",
    source="A. Terzić et al., NeurIPS 2025, arXiv:2509.22284",
    trick="column-sparse-transition",
)
def scan(
    p: Float[Tensor, "B T N"],
    d: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``, ``A[t][p[t][j], j] = d[t][j]``; float32 or wider inside.

    ``p`` holds whole numbers and has a gradient of zero.
    """
    axis_sizes(scan, p, d, b, h0)
    return column_sparse_scan(p.round().long(), d + 0.0 * p.round(), b, h0)


@mixer(
    "column_sparse_transition",
    source="A. Terzić et al., NeurIPS 2025, arXiv:2509.22284",
    trick="column-sparse-transition",
)
class ColumnSparse(TransitionLayer):
    """The layer with ``A = P D``: P out of a dictionary, straight-through; D real, of either sign.

    The authors' D is complex, of modulus below 1; a cosine reaches 1 and -1 exactly, so that a long
    product of signs does not fade.
    """

    def __init__(self, width: int, *, heads: int = 1, keys: int = 16, values: int = 8) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        self.choice = nn.Linear(width, ENTRIES)
        # near the identity: random targets meet, and a few of their products send all to one place
        self.dictionary = nn.Parameter(torch.eye(keys) + torch.randn(ENTRIES, keys, keys))
        self.angle = nn.Linear(width, keys)
        nn.init.zeros_(self.angle.bias)

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        routes = column_routing(self.choice(x), self.dictionary)
        d = torch.cos(self.angle(x))
        if torch.is_grad_enabled():
            # the borrowed gradient belongs to every entry of P, not to the taken ones alone
            return matrix_scan(routes * d[..., None, :], b, h0)
        return scan(routes.argmax(dim=-2).to(d), d, b, h0)
