"""Kogge-Stone scan: every step composes with the one 1, 2, 4 ... before it.

Every step is the affine map (A, b). After the round with distance d each step holds the composition
of the 2 d steps that end with it,

    (A, b)[t] <- (A, b)[t] o (A, b)[t-d]    for t >= d,    d = 1, 2, 4, ... < T

so after log2 T rounds its vector is the state. The shortest possible depth, at T log2 T
compositions where cyclic reduction and the work-efficient scan need T and 2 T; nothing but long
contiguous operations, which is why it is the scan most often found in model code.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.affine import DENSE, DIAGONAL, Kind, absorb
from impl.common.axes import axis_sizes
from impl.registry import implements


@implements(
    "linear_recurrence",
    source="P. M. Kogge and H. S. Stone, IEEE Trans. Comput. C-22(8), 1973, doi:10.1109/TC.1973.5009159",
)
def kogge_stone(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """``h[t] = a[t] h[t-1] + b[t]`` in log2 T rounds, rounded to the inputs' dtype throughout."""
    axis_sizes(kogge_stone, a, b, h0)
    return _scan(DIAGONAL, a, absorb(DIAGONAL, a, b, h0))


@implements(
    "matrix_recurrence",
    source="P. M. Kogge and H. S. Stone, IEEE Trans. Comput. C-22(8), 1973, doi:10.1109/TC.1973.5009159",
)
def matrix(
    a: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N"],
    h0: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B T N"]:
    """``h[t] = A[t] h[t-1] + b[t]`` in log2 T rounds, each one batched matrix product."""
    axis_sizes(matrix, a, b, h0)
    return _scan(DENSE, a, absorb(DENSE, a, b, h0))


def _scan(kind: Kind, a: Tensor, b: Tensor) -> Tensor:
    length, distance = b.shape[1], 1
    while distance < length:
        a_now, a_before = a[:, distance:], a[:, :-distance]
        b = torch.cat(
            [b[:, :distance], kind.apply(a_now, b[:, :-distance]) + b[:, distance:]], dim=1
        )
        # the last round's matrices would never be read
        if 2 * distance < length:
            a = torch.cat([a[:, :distance], kind.multiply(a_now, a_before)], dim=1)
        distance *= 2
    return b
