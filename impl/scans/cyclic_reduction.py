"""Cyclic reduction: solve every other step, then fill in the rest.

A first-order recurrence is a lower block-bidiagonal linear system. Substituting each even step into
the odd step after it leaves a recurrence of the same kind and half the length,

    h[2k+1] = (A[2k+1] A[2k]) h[2k-1] + (A[2k+1] b[2k] + b[2k+1]),

so halve until one step is left and substitute back, h[2k] = A[2k] h[2k-1] + b[2k]. Only the way down
multiplies matrices; the way back applies them to vectors. For T steps of N x N matrices:

    ==================  ===============  =======================  ===============
                        matrix products  matrix-vector products   dependent steps
    ==================  ===============  =======================  ===============
    sequential          0                T                        T
    cyclic reduction    T                2 T                      2 log2 T
    prefix scan         2 T              2 T                      2 log2 T
    Kogge-Stone         T log2 T         T log2 T                 log2 T
    ==================  ===============  =======================  ===============

A matrix product costs N times a matrix-vector product: against the sequential loop every scan here
does about N times the work and buys depth with it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.affine import DENSE, DIAGONAL, Kind, absorb, interleave
from impl.common.axes import axis_sizes
from impl.registry import implements


@implements(
    "linear_recurrence",
    trick="cyclic-reduction",
    source="R. W. Hockney, J. ACM 12(1), 1965, doi:10.1145/321250.321259",
)
def cyclic_reduction(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """``h[t] = a[t] h[t-1] + b[t]`` by odd-even elimination, rounded to the inputs' dtype throughout."""
    axis_sizes(cyclic_reduction, a, b, h0)
    return _solve(DIAGONAL, a, absorb(DIAGONAL, a, b, h0))


@implements(
    "matrix_recurrence",
    trick="cyclic-reduction",
    source="R. W. Hockney, J. ACM 12(1), 1965, doi:10.1145/321250.321259",
)
def matrix(
    a: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N"],
    h0: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B T N"]:
    """``h[t] = A[t] h[t-1] + b[t]`` by odd-even elimination, each level one batched matrix product."""
    axis_sizes(matrix, a, b, h0)
    return _solve(DENSE, a, absorb(DENSE, a, b, h0))


def _solve(kind: Kind, a: Tensor, b: Tensor) -> Tensor:
    """States of the recurrence that starts at zero; the first matrix is never needed."""
    if b.shape[1] == 1:
        return b
    a_even, b_even = a[:, 0::2], b[:, 0::2]
    a_odd, b_odd = a[:, 1::2], b[:, 1::2]
    pairs = b_odd.shape[1]

    # eliminate the even steps: a recurrence over the odd ones, half as long
    h_odd = _solve(
        kind,
        kind.multiply(a_odd, a_even[:, :pairs]),
        kind.apply(a_odd, b_even[:, :pairs]) + b_odd,
    )

    # substitute back: each even step but the first knows the odd step before it
    h_later = kind.apply(a_even[:, 1:], h_odd[:, : b_even.shape[1] - 1]) + b_even[:, 1:]
    return interleave(torch.cat([b_even[:, :1], h_later], dim=1), h_odd)
