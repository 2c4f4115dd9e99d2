"""Group matrix: a transition that is a weighted sum of the elements of a group of signed permutations.

    h[t] = A[t] h[t-1] + b[t],   A[t] = I (x) sum over g of c[t][g] rho(g)

rho(g) is P x P with one 1 or -1 in every row and column; N / P copies of the state share it. Products
stay such sums (c is convolved over the group), whose c runs over the whole group: the scan multiplies
P x P matrices. |G| weights a token, P^2 |G| multiply-adds to form A, P N V to apply it; dense: N^2 V.

As circulants commute with shifts, A commutes with everything that only mixes the copies, so that its
displacement Z A - A Z has rank 0, and at most 2 R after a correction of rank R.

What it pays: P^2 numbers of A remain of |G| weights, and one small transition for the whole state.
``free`` weights reach every P x P matrix and bound the columns of A. ``softmax`` over all elements, -g
beside g, keeps sum |c| <= 1 and hence every product: orthogonal is then one single element, so that
groups within this one are tracked at any length and others (S_5 in 4 x 4) fade. Between two elements
lies a singular matrix, and training has to pass it.
"""

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.matrix_scan import matrix_scan
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer

BLOCK = 4
"""Rows of rho: B_4 has 384 elements and holds Z_8, S_3, D_4 and B_3; B_5 would have 3840."""


@implements(
    "group_matrix_transition",
    trick="group-matrix-displacement-rank",
    source="A. Samudre et al., AISTATS 2025, arXiv:2409.11772",
)
def scan(
    c: Float[Tensor, "B T G"],
    rho: Float[Tensor, "G P P"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]``, rounded to the dtype of the inputs at every step."""
    sizes = axis_sizes(scan, c, rho, b, h0)
    if sizes["N"] % sizes["P"]:
        raise ValueError(f"N={sizes['N']}, want a multiple of P={sizes['P']}")
    a = torch.einsum("btg,gij->btij", c, rho)
    # copies lie beside one another, as more columns of a state of P rows
    start = None if h0 is None else _beside(h0, sizes["P"])
    h = matrix_scan(a, _beside(b, sizes["P"]), start).unflatten(-1, (-1, sizes["V"]))
    return h.transpose(-2, -3).flatten(-3, -2)


def _beside(x: Float[Tensor, "*batch N V"], rows: int) -> Float[Tensor, "*batch P C"]:
    return x.unflatten(-2, (-1, rows)).transpose(-2, -3).flatten(-2)


def signed_permutations(size: int) -> Float[Tensor, "G P P"]:
    """One of every pair +-g of the hyperoctahedral group, the identity first.

    The other of a pair is the same matrix with a weight of the other sign.
    """
    orders = torch.tensor(list(itertools.permutations(range(size))))
    signs = torch.tensor([(1.0, *rest) for rest in itertools.product((1.0, -1.0), repeat=size - 1)])
    return (torch.eye(size)[orders][:, None] * signs[:, :, None]).flatten(0, 1)


@mixer(
    "group_matrix_transition",
    trick="group-matrix-displacement-rank",
    source="A. Samudre et al., AISTATS 2025, arXiv:2409.11772",
    knobs={"weights": ("free", "softmax")},
)
class GroupMatrix(TransitionLayer):
    """The layer with sums over the signed permutations of 4 coordinates, from near the identity."""

    rho: Tensor

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        keys: int = 16,
        values: int = 8,
        weights: str = "free",
    ) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        if keys % BLOCK:
            raise ValueError(f"keys={keys}, want a multiple of {BLOCK}")
        self.register_buffer("rho", signed_permutations(BLOCK), persistent=False)
        self.soft = weights == "softmax"
        self.c = nn.Linear(width, len(self.rho) * (2 if self.soft else 1))
        with torch.no_grad():
            # the length of a sum of |G| elements goes with the root of their number
            self.c.weight.div_(len(self.rho) ** 0.5)
            self.c.bias.div_(len(self.rho) ** 0.5)
            # in a softmax the identity outweighs all other elements together, by e^3
            self.c.bias[0] = 3.0 + math.log(self.c.out_features) if self.soft else 1.0

    def weights(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T G"]:
        """``c``: of absolute sum at most 1, or with no column of ``A`` longer than 1."""
        if self.soft:
            plus, minus = torch.softmax(self.c(x), dim=-1).chunk(2, dim=-1)
            return plus - minus
        c = self.c(x)
        columns = torch.linalg.vector_norm(torch.einsum("btg,gij->btij", c, self.rho), dim=-2)
        return c / columns.amax(-1, keepdim=True).clamp_min(1.0)

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        return scan(self.weights(x), self.rho, b, h0)
