"""Gated readout: any linear memory, its readout times a sigmoid gate of the token that reads.

    before:  y[t] = W_o (sigmoid(W_g x[t] + c) * o[t])
    after:   y[t] = sigmoid(W_g x[t] + c) * W_o o[t]

The gate puts a function of the reading token between what is read and the output projection, or behind
that. It pays D^2 + D parameters and no state. How far it stands open at the start is c.
"""

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.mixers.deltanet import Deltanet
from impl.mixers.gated_cosformer import BIAS
from impl.mixers.gla import Gla
from impl.mixers.linear_attention import LinearAttention
from impl.mixers.ssd import Ssd
from impl.registry import mixer

INNER = {
    "linear_attention": LinearAttention,
    "gla": Gla,
    "stable_gla": functools.partial(Gla, decay="stable"),
    "ssd": Ssd,
    "deltanet": Deltanet,
}


@mixer(
    source="Z. Qiu et al., NeurIPS 2025, arXiv:2505.06708",
    trick="post-attention-sigmoid-gating",
    knobs={
        "inner": ("linear_attention", "gla", "stable_gla", "ssd", "deltanet"),
        "position": ("before", "after"),
        "gate": ("open", "half"),
    },
)
class Gated(nn.Module):
    """``W_o (sigmoid(W_g x + c) * o)`` of the readout ``o`` of ``inner``, or the gate after ``W_o``."""

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        inner: str = "linear_attention",
        position: str = "before",
        gate: str = "open",
    ) -> None:
        super().__init__()
        if inner not in INNER:
            raise ValueError(f"inner={inner!r}, want one of {', '.join(INNER)}")
        if position not in ("before", "after"):
            raise ValueError(f"position={position!r}, want 'before' or 'after'")
        if gate not in BIAS:
            raise ValueError(f"gate={gate!r}, want 'open' or 'half'")
        self.position = position
        self.inner = INNER[inner](width, heads=heads)
        # what the memory ends in moves behind, or before, the gate
        self.o, self.inner.o = self.inner.o, nn.Identity()
        self.g = nn.Linear(width, width)
        nn.init.constant_(self.g.bias, BIAS[gate])

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.gated(x, self.inner(x))

    def step(self, x: Float[Tensor, "B D"], state: Any) -> tuple[Float[Tensor, "B D"], Any]:
        """One token of the memory's recurrence, gated."""
        o, state = self.inner.step(x, state)
        return self.gated(x, o), state

    def gated(self, x: Float[Tensor, "*B D"], o: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """The output of a token ``x`` that has read ``o``."""
        gate = torch.sigmoid(self.g(x))
        return self.o(gate * o) if self.position == "before" else gate * self.o(o)

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Any:
        """The state of the memory."""
        return self.inner.initial(batch, device, dtype)

    def state_size(self, length: int) -> int:
        """Elements: as the memory, the gate keeps nothing."""
        return self.inner.state_size(length)
