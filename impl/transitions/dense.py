"""Dense: a transition without structure, what every structured one is measured against.

    h[t] = A[t] h[t-1] + b[t],   A[t] = W / max over columns of |W[:, j]|,   W = W_a x[t] + bias

N^2 elements a token to produce and N^2 V multiply-adds to apply. Columns of length at most one keep a
step from growing most states, not products from growing some: at many times the trained length a
dense model may overflow, and is then wrong, not stable.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.matrix_scan import matrix_scan
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer


@implements("dense_transition", source="textbook")
def scan(
    a: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``, rounded to the dtype of the inputs at every step."""
    axis_sizes(scan, a, b, h0)
    return matrix_scan(a, b, h0)


@mixer("dense_transition", source="W. Merrill et al., ICML 2024, arXiv:2404.08819")
class Dense(TransitionLayer):
    """The layer with a dense ``A(x[t])`` that starts near the identity."""

    def __init__(self, width: int, *, heads: int = 1, keys: int = 16, values: int = 8) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        self.a = nn.Linear(width, keys**2)
        with torch.no_grad():
            self.a.bias.copy_(torch.eye(keys).flatten())

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        a = self.a(x).unflatten(-1, (self.keys, self.keys))
        columns = torch.linalg.vector_norm(a, dim=-2, keepdim=True)
        return scan(a / columns.amax(dim=-1, keepdim=True).clamp_min(1e-6), b, h0)
