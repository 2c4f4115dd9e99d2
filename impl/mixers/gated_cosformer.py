"""Gated cosFormer: the readout of cosFormer times a sigmoid gate of the token that reads.

    before:  y[t] = W_o (sigmoid(W_g x[t] + c) * o[t])
    after:   y[t] = sigmoid(W_g x[t] + c) * W_o o[t]

Without the gate, W_v and W_o act as one linear map on whatever is read; the gate puts a function of
the reading token between them, or behind them. It pays D^2 + D parameters and no state. How far it
stands open at the start is c: a gate that starts half open halves the signal.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.mixers.cosformer import Cosformer
from impl.registry import mixer

BIAS = {"open": 3.0, "half": 0.0}
"""``c`` at the start: sigmoid(3) = 0.95 lets the readout through, sigmoid(0) = 0.5 halves it."""


@mixer(
    trick="post-attention-sigmoid-gating",
    source="Z. Qiu et al., NeurIPS 2025, arXiv:2505.06708; Z. Qin et al., ICLR 2022",
    knobs={"position": ("before", "after"), "gate": ("open", "half"), "horizon": (128, 1024)},
)
class GatedCosformer(nn.Module):
    """``W_o (sigmoid(W_g x + c) * o)`` of a cosFormer readout ``o``, or the gate after ``W_o``."""

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        horizon: int = 128,
        position: str = "before",
        gate: str = "open",
    ) -> None:
        super().__init__()
        if position not in ("before", "after"):
            raise ValueError(f"position={position!r}, want 'before' or 'after'")
        if gate not in BIAS:
            raise ValueError(f"gate={gate!r}, want 'open' or 'half'")
        self.position = position
        self.inner = Cosformer(width, heads=heads, horizon=horizon)
        self.g = nn.Linear(width, width)
        nn.init.constant_(self.g.bias, BIAS[gate])

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.gated(x, self.inner.readout(x))

    def step(
        self, x: Float[Tensor, "B D"], state: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Float[Tensor, "B D"], tuple[Tensor, Tensor, Tensor]]:
        """One token of cosFormer's recurrence, gated."""
        o, state = self.inner.readout_step(x, state)
        return self.gated(x, o), state

    def gated(self, x: Float[Tensor, "*B D"], o: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """The output of a token ``x`` that has read ``o``."""
        gate = torch.sigmoid(self.g(x))
        return self.inner.o(gate * o) if self.position == "before" else gate * self.inner.o(o)

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The state of cosFormer."""
        return self.inner.initial(batch, device, dtype)

    def state_size(self, length: int) -> int:
        """Elements: as cosFormer, the gate keeps nothing."""
        return self.inner.state_size(length)
