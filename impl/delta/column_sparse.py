"""Column-sparse delta rule: a key is erased, then every coordinate is routed to a place of its own.

    h[t] = P[t] (I - beta k k^T) h[t-1] + beta k v^T

P has one entry a column: coordinates may meet in a row, none splits. In a row where m meet the entries
are 1 / sqrt m, so that P has norm 1, a permutation stays one, and no product of transitions grows.
With beta up to 2 the other factor may reflect. Either factor alone can swap two coordinates: the
proposal is that together they reach more, or reach it sooner.
N^2 + N elements a token to produce and N^2 V multiply-adds to apply, as many as for a dense matrix:
P ends the triangular solve of the delta rule, which needs a transition of I plus low rank.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.delta_layer import DeltaLayer
from impl.common.matrix_scan import matrix_scan
from impl.common.routing import column_routing
from impl.registry import implements, mixer

ENTRIES = 8
"""Matrices in the dictionary."""
AT_HOME = 3.0
"""Score by which a coordinate starts off preferring its own place: most stay, none is out of reach."""


@implements(
    "routed_delta_transition",
    source="A. Terzić et al., NeurIPS 2025, arXiv:2509.22284;"
    " R. Grazzi et al., ICLR 2025, arXiv:2411.12537",
    trick="column-sparse-transition",
)
def scan(
    p: Float[Tensor, "B T N N"],
    k: Float[Tensor, "B T N"],
    beta: Float[Tensor, "B T"],
    v: Float[Tensor, "B T V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = P (I - beta k k^T) h[t-1] + beta k v^T``; float32 or wider inside."""
    axis_sizes(scan, p, k, beta, v, h0)
    wide = torch.promote_types(v.dtype, torch.float32)
    p, k, beta = (x.to(wide) for x in (p, k, beta))
    erased = beta[..., None] * k
    a = p - (p @ k[..., None]) * erased[..., None, :]
    write = erased[..., None] * v.to(wide)[..., None, :]
    return matrix_scan(a, write, None if h0 is None else h0.to(wide)).to(v.dtype)


@mixer(
    "routed_delta_transition",
    source="A. Terzić et al., NeurIPS 2025, arXiv:2509.22284;"
    " R. Grazzi et al., ICLR 2025, arXiv:2411.12537",
    trick="negative-eigenvalue-extension",
    knobs={"routed": (True, False), "eigenvalues": ("signed", "positive")},
)
class ColumnSparse(DeltaLayer):
    """The delta rule with P out of a dictionary, straight-through; P = I where not ``routed``."""

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        keys: int = 16,
        values: int = 8,
        routed: bool = True,
        eigenvalues: str = "signed",
    ) -> None:
        super().__init__(
            width, heads=heads, keys=keys, values=values, steps=1, eigenvalues=eigenvalues
        )
        self.routed = routed
        if routed:
            self.choice = nn.Linear(width, ENTRIES)
            home = AT_HOME * torch.eye(keys)
            self.dictionary = nn.Parameter(torch.randn(ENTRIES, keys, keys) + home)

    def routes(self, x: Tensor) -> Float[Tensor, "B T N N"]:
        """``P``, of norm 1."""
        if not self.routed:
            return torch.eye(self.keys, dtype=x.dtype, device=x.device).expand(*x.shape[:2], -1, -1)
        p = column_routing(self.choice(x), self.dictionary)
        # how many meet is a count: the borrowed gradient is that of where they go
        return p / p.detach().sum(-1, keepdim=True).clamp_min(1.0).sqrt()

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        k, beta = self.corrections(x)
        return scan(self.routes(x), k[:, :, 0], beta[:, :, 0], b[:, :, 0], h0)
