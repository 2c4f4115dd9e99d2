"""Prefix scan, work-efficient: compose neighbours, scan half as many, fill in the rest.

Every step is the affine map (A, b), and the state h[t] is the vector part of the composition of
steps 0 to t. Composing neighbours gives the pairs, a scan of the pairs gives every odd prefix, and
one more composition each gives the even ones:

    p[2k+1] = scan((A, b)[2k+1] o (A, b)[2k])[k],    p[2k] = (A, b)[2k] o p[2k-1]

Whole maps are composed on the way back too, as a general scan operator has to: 2 T compositions
in 2 log2 T dependent steps, against T log2 T in log2 T of Kogge-Stone. A recurrence needs only the
vectors on the way back, and leaving the matrices out there is cyclic reduction.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.affine import DENSE, DIAGONAL, Kind, absorb, interleave
from impl.common.axes import axis_sizes
from impl.registry import implements


@implements(
    "linear_recurrence",
    source="R. E. Ladner and M. J. Fischer, J. ACM 27(4), 1980, doi:10.1145/322217.322232",
)
def prefix_scan(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """``h[t] = a[t] h[t-1] + b[t]`` by 2 T compositions, rounded to the inputs' dtype throughout."""
    axis_sizes(prefix_scan, a, b, h0)
    return _scan(DIAGONAL, a, absorb(DIAGONAL, a, b, h0))[1]


@implements(
    "matrix_recurrence",
    source="R. E. Ladner and M. J. Fischer, J. ACM 27(4), 1980, doi:10.1145/322217.322232",
)
def matrix(
    a: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N"],
    h0: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B T N"]:
    """``h[t] = A[t] h[t-1] + b[t]`` by 2 T compositions, each level one batched matrix product."""
    axis_sizes(matrix, a, b, h0)
    return _scan(DENSE, a, absorb(DENSE, a, b, h0))[1]


def _scan(kind: Kind, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Every prefix of the maps, composed."""
    if b.shape[1] == 1:
        return a, b
    a_even, b_even = a[:, 0::2], b[:, 0::2]
    a_odd, b_odd = a[:, 1::2], b[:, 1::2]
    pairs = b_odd.shape[1]

    # up: the prefixes of the pairs are the prefixes that end at odd steps
    a_prefix, b_prefix = _scan(
        kind,
        kind.multiply(a_odd, a_even[:, :pairs]),
        kind.apply(a_odd, b_even[:, :pairs]) + b_odd,
    )

    # down: every even step but the first is composed with the prefix before it
    later = b_even.shape[1] - 1
    a_later = kind.multiply(a_even[:, 1:], a_prefix[:, :later])
    b_later = kind.apply(a_even[:, 1:], b_prefix[:, :later]) + b_even[:, 1:]
    return (
        interleave(torch.cat([a_even[:, :1], a_later], dim=1), a_prefix),
        interleave(torch.cat([b_even[:, :1], b_later], dim=1), b_prefix),
    )
