"""Delta layer: a transition layer that corrects what its keys recall instead of adding to it.

    h <- (I - beta[j] k[j] k[j]^T) h + beta[j] k[j] v[j]^T,   j = 1 .. R a token

with unit keys and beta[j] = c sigmoid(W x + bias). With c = 1 the eigenvalue 1 - beta of a correction
lies in (0, 1); with c = 2 in (-1, 1), so that it may reflect. Its norm is at most 1 either way, and
so is a product's. What is written belongs to the transition: queries, norm and output do not.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.transition_layer import TransitionLayer

REACH = {"positive": 1.0, "signed": 2.0}
"""The end c of the range of the rates, by the sign of the eigenvalues they allow."""


class DeltaLayer(TransitionLayer):
    """Keys, rates and values of R = ``steps`` corrections a token; ``states`` is the subclass's."""

    def __init__(
        self, width: int, *, heads: int, keys: int, values: int, steps: int, eigenvalues: str
    ) -> None:
        super().__init__(width, heads=heads, keys=keys, values=values)
        if eigenvalues not in REACH:
            raise ValueError(f"eigenvalues={eigenvalues!r}, want one of {', '.join(REACH)}")
        if steps < 1:
            raise ValueError(f"steps={steps}, want at least 1")
        self.steps, self.reach = steps, REACH[eigenvalues]
        self.k = nn.Linear(width, steps * keys, bias=False)
        self.v = nn.Linear(width, steps * values, bias=False)
        self.beta = nn.Linear(width, steps)
        if eigenvalues == "signed":
            # near c = 2 a correction reflects and keeps every length; halfway it would erase its key,
            # and after N / R tokens little would be left of the first one
            nn.init.constant_(self.beta.bias, 2.0)

    def write(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T R V"]:
        """``v``: what the keys are to recall; how it comes to be written is the transition's."""
        return self.v(x).unflatten(-1, (self.steps, self.values))

    def corrections(
        self, x: Float[Tensor, "B T D"]
    ) -> tuple[Float[Tensor, "B T R N"], Float[Tensor, "B T R"]]:
        """Unit keys, and rates in (0, c)."""
        k = functional.silu(self.k(x)).unflatten(-1, (self.steps, self.keys))
        return functional.normalize(k, dim=-1), self.reach * torch.sigmoid(self.beta(x))
