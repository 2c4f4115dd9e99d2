"""Delta product: several corrections a token, each a Householder matrix, solved a chunk at a time.

    h <- (I - beta[j] k[j] k[j]^T) h + beta[j] k[j] v[j]^T,   j = 1 .. R a token

Of the C micro-steps of a chunk, with L the part of diag(beta) K K^T below the diagonal, the corrected
values are U = Y - W h and the state after micro-step c is h + sum over i <= c of k[i] u[i]^T, where

    [W | Y] = (I + L)^-1 diag(beta) [K | V].

C (3 N + V) / 2 + 3 N V multiply-adds a micro-step, T R / C dependent steps; a dense transition costs
N^2 V a token and T steps. A token's transition is I plus rank R, so R reflections make a rotation of
R / 2 planes: one swaps two coordinates, a cycle of R + 1 takes R. Products have norm at most 1.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.common.chunks import cut
from impl.common.delta_layer import DeltaLayer
from impl.common.delta_states import delta_states
from impl.registry import implements, mixer


@implements(
    "householder_transition",
    source="J. Siems et al., NeurIPS 2025, arXiv:2502.10297;"
    " T. Joffrain et al., ACM Trans. Math. Softw. 32, 2006, doi:10.1145/1141885.1141886",
    trick="deltaproduct",
    knobs={"chunk": (32, 16)},
)
def scan(
    k: Float[Tensor, "B T R N"],
    beta: Float[Tensor, "B T R"],
    v: Float[Tensor, "B T R V"],
    h0: Float[Tensor, "B N V"] | None = None,
    *,
    chunk: int = 32,
) -> Float[Tensor, "B T N V"]:
    """The state after the R corrections of every token, at most ``chunk`` of them at a time.

    float32 or wider inside; a token of more than ``chunk`` corrections is a chunk by itself.
    """
    size = axis_sizes(scan, k, beta, v, h0)
    pieces = -(-size["T"] // max(1, chunk // size["R"]))
    # as many tokens a chunk as fill all chunks alike, one head
    tokens = -(-size["T"] // pieces)
    K, V, b = (cut(x[:, :, None], tokens)[:, :1].flatten(3, 4) for x in (k, v, beta[..., None]))
    WY = torch.linalg.solve_triangular(
        # unitriangular: the solver takes the diagonal as ones and leaves the upper part unread
        b * (K @ K.mT),
        b * torch.cat([K, V], dim=-1),
        upper=False,
        unitriangular=True,
    )
    W, Y = WY.split([size["N"], size["V"]], dim=-1)
    U, starts, _ = delta_states(K, W, Y, None if h0 is None else h0[:, None])
    K, U = (x.unflatten(3, (tokens, size["R"])) for x in (K, U))
    h = starts[:, :, :, None] + (K.mT @ U).cumsum(dim=3)
    return h.flatten(1, 3)[:, : size["T"]].to(v.dtype)


@mixer(
    "householder_transition",
    source="J. Siems et al., NeurIPS 2025, arXiv:2502.10297;"
    " R. Grazzi et al., ICLR 2025, arXiv:2411.12537; S. Yang et al., NeurIPS 2024, arXiv:2406.06484",
    trick="deltaproduct",
    knobs={"steps": (1, 2, 3, 4), "eigenvalues": ("positive", "signed")},
)
class Product(DeltaLayer):
    """``steps`` corrections a token; one with positive eigenvalues is DeltaNet."""

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        keys: int = 16,
        values: int = 8,
        steps: int = 1,
        eigenvalues: str = "positive",
    ) -> None:
        super().__init__(
            width, heads=heads, keys=keys, values=values, steps=steps, eigenvalues=eigenvalues
        )

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        k, beta = self.corrections(x)
        return scan(k, beta, b, h0)
