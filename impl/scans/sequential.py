"""Sequential loop: one step after another, the baseline that every scan has to beat.

    h[t] = a[t] h[t-1] + b[t]

T multiply-adds of D elements (diagonal) or T products of an N x N matrix with a vector (dense), in
T dependent steps. No scan does less work; what it pays is the depth, and a kernel launch a step.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.registry import implements


@implements("linear_recurrence", source="textbook")
def sequential(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """``h[t] = a[t] h[t-1] + b[t]``, rounded to the dtype of the inputs at every step."""
    length = axis_sizes(sequential, a, b, h0)["T"]
    h, states = torch.zeros_like(b[:, 0]) if h0 is None else h0, []
    for t in range(length):
        h = torch.addcmul(b[:, t], a[:, t], h)
        states.append(h)
    return torch.stack(states, dim=1)


@implements("matrix_recurrence", source="textbook")
def matrix(
    a: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N"],
    h0: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B T N"]:
    """``h[t] = A[t] h[t-1] + b[t]``, rounded to the dtype of the inputs at every step."""
    length = axis_sizes(matrix, a, b, h0)["T"]
    h, states = torch.zeros_like(b[:, 0]) if h0 is None else h0, []
    for t in range(length):
        h = torch.baddbmm(b[:, t, :, None], a[:, t], h[..., None])[..., 0]
        states.append(h)
    return torch.stack(states, dim=1)
