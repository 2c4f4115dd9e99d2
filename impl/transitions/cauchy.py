"""Cauchy: a transition of low displacement rank, a dial between diagonal and dense.

    h[t] = A[t] h[t-1] + b[t],   A[i, j] = d[i] [i = j] + (g[i] . f[j]) / (r[i] - c[j])

The part beside the diagonal has displacement diag(r) C - C diag(c) = g f^T of rank R: 2 N R + N numbers
a token where dense has N^2, down to a diagonal (R = 0) and up to everything (R = N). Rank 1 holds every
swap of two coordinates; a cycle through M of them needs rank M - 1. Forming A costs N^2 R, applying it
N^2 V as dense: ranks add under products, so the scan is dense, and no step is cheaper.

The nodes are fixed. ``spread``: r lies halfway between c, where 1 / (r - c) is, but for a factor, nearly
orthogonal. ``close``: r = c, the quotient left out on the diagonal. ``norm`` says what is done about
growth: ``columns`` leaves permutations as they are; ``frobenius`` divides A by its Frobenius norm, which
shrinks every orthogonal A, the identity too, by sqrt N a step.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.column_bounds import bounded_columns
from impl.common.diagonal_recurrence import diagonal_recurrence
from impl.common.matrix_scan import matrix_scan
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer

START = 0.3
"""Of the customary spread of weights: the Cauchy part then starts below the diagonal at every rank."""


def reciprocal_gaps(r: Float[Tensor, " N"], c: Float[Tensor, " N"]) -> Float[Tensor, "N N"]:
    """``1 / (r[i] - c[j])``, and 0 where nodes coincide."""
    gaps = r[:, None] - c
    apart = gaps != 0
    return torch.where(apart, 1 / torch.where(apart, gaps, 1.0), 0.0)


def cauchy_like(
    g: Float[Tensor, "B T N R"],
    f: Float[Tensor, "B T N R"],
    d: Float[Tensor, "B T N"],
    kernel: Float[Tensor, "N N"],
) -> Float[Tensor, "B T N N"]:
    """``diag(d) + kernel * g f^T``."""
    # batched products over an axis of 1 take several times as long as plain multiplies
    product = g * f.mT if g.shape[-1] == 1 else g @ f.mT
    return torch.diag_embed(d) + kernel * product


@implements(
    "cauchy_transition",
    trick="displacement-rank-cauchy-like",
    source="I. Gohberg, T. Kailath, V. Olshevsky, Math. Comp. 64(212), 1995;"
    " T. Kailath, S. Kung, M. Morf, J. Math. Anal. Appl. 68(2), 1979,"
    " doi:10.1016/0022-247X(79)90124-0",
)
def scan(
    g: Float[Tensor, "B T N R"],
    f: Float[Tensor, "B T N R"],
    d: Float[Tensor, "B T N"],
    r: Float[Tensor, " N"],
    c: Float[Tensor, " N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``; A is formed in the dtype of the inputs, the nodes included."""
    axis_sizes(scan, g, f, d, r, c, b, h0)
    return matrix_scan(cauchy_like(g, f, d, reciprocal_gaps(r, c)), b, h0)


@mixer(
    "cauchy_transition",
    trick="displacement-rank-cauchy-like",
    source="A. Thomas et al., NeurIPS 2018, arXiv:1810.02309",
    knobs={
        "rank": (1, 0, 2, 4, 16),
        "nodes": ("spread", "close"),
        "norm": ("columns", "frobenius"),
    },
)
class Cauchy(TransitionLayer):
    """The layer with a Cauchy-like ``A(x[t])`` that starts near the identity."""

    kernel: Tensor

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        keys: int = 16,
        values: int = 8,
        rank: int = 1,
        nodes: str = "spread",
        norm: str = "columns",
    ) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        self.rank, self.norm_of_a = rank, norm
        self.d = nn.Linear(width, keys)
        generators = [nn.Linear(width, keys * rank) for _ in range(2 if rank else 0)]
        with torch.no_grad():
            for made in (self.d, *generators):
                made.weight.mul_(START)
                made.bias.mul_(START)
            self.d.bias.fill_(1.0)
        self.generators = nn.ModuleList(generators)
        columns = torch.arange(keys, dtype=torch.float64)
        kernel = reciprocal_gaps(columns + (0.5 if nodes == "spread" else 0.0), columns)
        self.register_buffer("kernel", kernel.float(), persistent=False)

    def bounded(self, a: Float[Tensor, "*batch N M"]) -> Float[Tensor, "*batch N M"]:
        """``A`` with columns of length at most 1, or of Frobenius norm 1."""
        if self.norm_of_a == "columns":
            return bounded_columns(a)
        return a / torch.linalg.matrix_norm(a, keepdim=True).clamp_min(1e-6)

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        d = self.d(x)
        if self.rank:
            g, f = (made(x).unflatten(-1, (self.keys, self.rank)) for made in self.generators)
            return matrix_scan(self.bounded(cauchy_like(g, f, d, self.kernel)), b, h0)
        # a diagonal is bounded as the one row of its columns
        kept = self.bounded(d[..., None, :]).mT.expand_as(b)
        if h0 is not None:
            b = torch.cat([(kept[:, 0] * h0 + b[:, 0])[:, None], b[:, 1:]], dim=1)
        return diagonal_recurrence(kept.flatten(-2), b.flatten(-2)).unflatten(-1, b.shape[-2:])
