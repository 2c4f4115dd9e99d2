"""Capacitance-coupled scales: groups of the state with time scales of their own, which leak into one another.

    (diag(d[t]) + P Q^T) h' = h[t-1],   h[t] = h' + k[t] v[t]^T,   d = 1 + step[t] / tau

an implicit step, stable for any positive step alone. The groups' scales tau are spread by powers; P and Q
have one column a group, so that R = groups, and Woodbury leaves a system of that size a token,

    A^-1 = D^-1 - D^-1 P C^-1 Q^T D^-1,   C = I + Q^T D^-1 P

N R^2 + R^3 multiply-adds, and 2 N R + N to apply it, where one decay a coordinate costs N. What is bought
is exchange between groups; the diagonal groups alone are heads of different decay. Coupled freely, the sum
may come near a singular matrix: nothing bounds the step then.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.matrix_scan import matrix_scan
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer


@implements(
    "capacitance_transition",
    source="B. L. Buzbee, F. W. Dorr, J. A. George and G. H. Golub, SIAM J. Numer. Anal. 8(4), 1971",
    trick="capacitance-matrix-method",
)
def scan(
    d: Float[Tensor, "B T N"],
    p: Float[Tensor, "N R"],
    q: Float[Tensor, "N R"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = (diag(d[t]) + p q^T)^-1 h[t-1] + b[t]``; float32 or wider inside."""
    rank = axis_sizes(scan, d, p, q, b, h0)["R"]
    wide = torch.promote_types(b.dtype, torch.float32)
    d, p, q, b_wide = (x.to(wide) for x in (d, p, q, b))
    left, right = p / d[..., None], q / d[..., None]  # [B, T, N, R]
    capacitance = torch.eye(rank, dtype=wide, device=d.device) + q.mT @ left
    coupled = left @ torch.linalg.solve(capacitance, right.mT)
    first = None if h0 is None else h0.to(wide)
    return matrix_scan(torch.diag_embed(1 / d) - coupled, b_wide, first).to(b.dtype)


@mixer(
    "capacitance_transition",
    source="B. L. Buzbee, F. W. Dorr, J. A. George and G. H. Golub, SIAM J. Numer. Anal. 8(4), 1971",
    trick="capacitance-matrix-method",
    knobs={"coupled": (True, False)},
)
class Capacitance(TransitionLayer):
    """The layer with ``scales`` groups of coordinates, coupled through one channel each or not."""

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        keys: int = 16,
        values: int = 8,
        scales: int = 4,
        coupled: bool = True,
    ) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        if keys % scales:
            raise ValueError(f"keys={keys}, want a multiple of scales={scales}")
        # memories of 4 to 150 tokens at a step of 1
        group = torch.arange(keys) // (keys // scales)
        self.register_buffer("rate", (1 / 4) * (4 / 150) ** (group / max(1, scales - 1)))
        self.pace = nn.Linear(width, keys)
        small = 0.1 / keys**0.5
        self.left = nn.Parameter(small * torch.randn(keys, scales)) if coupled else None
        self.right = nn.Parameter(small * torch.randn(keys, scales)) if coupled else None

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        # softplus(0.54) = 1
        step = nn.functional.softplus(self.pace(x) + 0.54)
        d = 1 + step * self.get_buffer("rate")
        none = d.new_zeros(self.keys, 1)
        p, q = (none if side is None else side for side in (self.left, self.right))
        return scan(d, p, q, b, h0)
