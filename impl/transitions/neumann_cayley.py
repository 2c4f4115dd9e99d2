"""Neumann-Cayley: a nearly orthogonal transition, its inverse replaced by a few terms of a series.

    h[t] = A[t] h[t-1] + b[t],   A = (I - S) sum over j < terms of (-S)^j,   S = -S^T

    A = (I - S) (I + S)^-1 (I - (-S)^terms)

so an eigenvalue of modulus 1 becomes one of |1 - (-i sigma)^terms|, for i sigma of S: it shrinks like
1 - sigma^terms where 4 divides terms, and grows for every other number, without bound over many steps.
The norm of S stays below 1, where the series converges, and turns stay below a right angle: -1, the
eigenvalue of every swap, is out of reach. (terms - 1) products of N^3 multiply-adds a token, and
N^2 V to apply it; the exact inverse, terms = 0, takes 4/3 N^3, most of them one after another.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.matrix_scan import matrix_scan
from impl.common.transition_layer import TransitionLayer
from impl.registry import implements, mixer


@implements(
    "neumann_cayley_transition",
    source="E. Mucllari et al., Neural Comput., 2024, arXiv:2208.06496",
    trick="neumann-cayley",
)
def scan(
    s: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A(s[t]) h[t-1] + b[t]`` with 4 terms; ``A`` is made in float32 or wider."""
    axis_sizes(scan, s, b, h0)
    wide = torch.promote_types(s.dtype, torch.float32)
    return matrix_scan(neumann_cayley(s.to(wide), terms=4).to(b.dtype), b, h0)


@implements(
    "cayley_transition",
    source="K. Helfrich et al., ICML 2018, arXiv:1707.09520",
    trick="cayley-contractive-parameterization",
)
def exact_scan(
    s: Float[Tensor, "B T N N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A(s[t]) h[t-1] + b[t]`` with the inverse itself; ``A`` is made in float32 or wider."""
    axis_sizes(exact_scan, s, b, h0)
    wide = torch.promote_types(s.dtype, torch.float32)
    return matrix_scan(neumann_cayley(s.to(wide), terms=0).to(b.dtype), b, h0)


def neumann_cayley(s: Float[Tensor, "*batch N N"], *, terms: int) -> Float[Tensor, "*batch N N"]:
    """``(I - S) sum over j < terms of (-S)^j``; no terms stand for all of them, ``(I + S)^-1``."""
    identity = torch.eye(s.shape[-1], dtype=s.dtype, device=s.device)
    if terms == 0:
        # factors are functions of S and commute
        return torch.linalg.solve(identity + s, identity - s)
    # the product of both factors is I + 2 (-S) + 2 (-S)^2 + ... + (-S)^terms
    tail = -s
    for _ in range(terms - 1):
        tail = -s @ (2 * identity + tail)
    return identity + tail


@mixer(
    "neumann_cayley_transition",
    source="E. Mucllari et al., Neural Comput., 2024, arXiv:2208.06496",
    trick="neumann-cayley",
    knobs={"terms": (4, 1, 2, 8, 0)},
)
class NeumannCayley(TransitionLayer):
    """The layer with ``A(S(x[t]))``; ``terms`` of the series, 0 for the exact inverse."""

    def __init__(
        self, width: int, *, heads: int = 1, keys: int = 16, values: int = 8, terms: int = 4
    ) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        if terms < 0:
            raise ValueError(f"terms={terms}, want at least 0")
        self.terms = terms
        self.s = nn.Linear(width, keys * (keys - 1) // 2)
        # turns start small, where even one term keeps what is remembered
        nn.init.normal_(self.s.weight, std=0.3 / keys)
        above = torch.triu_indices(keys, keys, 1)
        places = torch.zeros(keys, keys, dtype=torch.long)
        places[above[0], above[1]] = torch.arange(above.shape[1])
        self.register_buffer("places", places + places.T, persistent=False)
        ones = torch.ones(keys, keys)
        self.register_buffer("signs", ones.triu(1) - ones.tril(-1), persistent=False)

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        s = self.s(x)[..., self.places] * self.signs
        # singular values come in pairs, so half of the squares bounds each, and so do sums of rows
        paired = (s.square().sum((-2, -1), keepdim=True) / 2 + 1e-12).sqrt()
        bound = torch.minimum(paired, s.abs().sum(-1, keepdim=True).amax(-2, keepdim=True))
        return matrix_scan(neumann_cayley(s / (1 + bound), terms=self.terms), b, h0)
