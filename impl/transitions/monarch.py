"""Monarch: mixes the rows of a grid, then its columns, and so every coordinate with every other.

    h[t] = A[t] h[t-1] + b[t],   A = P L P^T R,

with the N = G^2 coordinates laid out as a grid (g, j), R and L of G blocks G x G each, and P the
transposition of the grid: R acts inside rows, P L P^T inside columns. Hence

    A[(i', i), (g, j)] = L[i, i', g] R[g, i, j],

one product an entry. The factors cost 2 N^1.5 V multiply-adds a step against N^2 V, and 2 N^1.5
elements a token to produce against N^2. What it pays: the product of two Monarch matrices is none
(``correctness/test_closure.py``), so nothing cheaper than a dense scan composes two steps. At N = 16
even a step is cheaper dense on a CPU: both factors are too small to fill it, and N^2 multiplications
form A for all steps at once.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.matrix_scan import matrix_scan
from impl.common.monarch_blocks import bounded_blocks, monarch_matrix, rotation_blocks
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer

Form = Literal["factors", "dense"]
FACTORS_FROM = 64
"""Elements of a column of the state from which, on a CPU, two factors a step beat one dense matrix."""


@implements(
    "monarch_transition",
    source="T. Dao et al., ICML 2022, arXiv:2204.00595",
    trick="monarch-factorization",
    knobs={"form": ("factors", "dense")},
)
def scan(
    l: Float[Tensor, "B T N G"],
    r: Float[Tensor, "B T N G"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
    *,
    form: Form = "factors",
) -> Float[Tensor, "B T N V"]:
    """``h[t] = P L[t] P^T R[t] h[t-1] + b[t]``, rounded to the dtype of the inputs at every step."""
    sizes = axis_sizes(scan, l, r, b, h0)
    size = sizes["G"]
    if sizes["N"] != size**2:
        raise ValueError(f"N={sizes['N']}, want G^2 = {size**2}")
    rows, columns = (x.unflatten(-2, (size, size)) for x in (r, l))
    if form == "dense":
        return matrix_scan(monarch_matrix(rows, columns), b, h0)
    h = torch.zeros_like(b[:, 0]) if h0 is None else h0
    states = []
    for t in range(b.shape[1]):
        u = rows[:, t] @ h.unflatten(1, (size, size))
        h = (columns[:, t] @ u.transpose(1, 2)).transpose(1, 2).flatten(1, 2) + b[:, t]
        states.append(h)
    return torch.stack(states, dim=1)


@mixer(
    "monarch_transition",
    source="T. Dao et al., ICML 2022, arXiv:2204.00595",
    trick="monarch-factorization",
    knobs={"blocks": ("free", "orthogonal")},
)
class Monarch(TransitionLayer):
    """The layer with a Monarch ``A(x[t])``, the identity for a bias alone.

    ``free`` blocks are any matrices, divided by the length of their longest column; that bounds a step
    for most states, products not. ``orthogonal`` ones are rotations by way of the Cayley transform: no
    product of transitions grows or fades.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        keys: int = 16,
        values: int = 8,
        blocks: Literal["free", "orthogonal"] = "free",
    ) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        self.size = math.isqrt(keys)
        if self.size**2 != keys or self.size < 2:
            raise ValueError(f"keys={keys}, want the square of 2 or more")
        self.blocks = bounded_blocks if blocks == "free" else rotation_blocks
        self.form: Form = "dense" if keys < FACTORS_FROM else "factors"
        free = self.size**2 if blocks == "free" else self.size * (self.size - 1) // 2
        self.a = nn.Linear(width, 2 * self.size * free)
        with torch.no_grad():
            identity = torch.eye(self.size).flatten().repeat(2 * self.size)
            self.a.bias.copy_(identity if blocks == "free" else torch.zeros_like(self.a.bias))

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        numbers = self.a(x).unflatten(-1, (2, self.size, -1))
        l, r = self.blocks(numbers, self.size).flatten(-3, -2).unbind(-3)
        return scan(l, r, b, h0, form=self.form)
