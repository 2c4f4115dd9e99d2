"""Gated linear attention: a sum that replaces the past and fades channel by channel.

    S[t] = diag(alpha[t]) S[t-1] + k[t] v[t]^T,   o[t] = S[t]^T q[t]

with alpha of the token, as a sigmoid or by the stable parameterisation. The state is K V elements a
head, as plain linear attention's; it pays K decays a token. Every state is written out here, which short
sequences on a CPU train fastest by; chunks, for all others, are ``impl/chunkwise/gla.py``.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.decay_gates import first_bias, log_decay
from impl.common.heads import head_width, merge, split
from impl.registry import mixer
from impl.transitions.diagonal import row_recurrence


@mixer(
    "gated_linear_attention",
    source="S. Yang et al., ICML 2024, arXiv:2312.06635; decay: S. Wang and Q. Li, ICML 2024, arXiv:2311.14495",
    trick="stablessm-gradient-balancing",
    knobs={"decay": ("sigmoid", "stable")},
)
class Gla(nn.Module):
    """``W_o norm(S^T q)`` of the fading sum."""

    def __init__(self, width: int, *, heads: int = 1, decay: str = "sigmoid") -> None:
        super().__init__()
        self.heads, self.channels, self.decay = heads, head_width(width, heads), decay
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.g = nn.Linear(width, width)
        first_bias(self.g.bias, decay)
        self.norm = nn.RMSNorm(self.channels)

    def run(self, x: Float[Tensor, "B T D"], state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Output of all tokens, and the last state."""
        q, k, v, f = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v, self.g))
        written = k[..., :, None] * v[..., None, :]  # [B, H, T, K, V]
        alpha, start = (
            log_decay(f, self.decay).exp(),
            None if state is None else state.flatten(0, 1),
        )
        h = row_recurrence(alpha.flatten(0, 1), written.flatten(0, 1), start)
        h = h.unflatten(0, (-1, self.heads))
        o = (q[..., None, :] @ h)[..., 0, :] / self.channels**0.5
        return self.o(merge(self.norm(o))), h[:, :, -1]

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.run(x, None)[0]

    def step(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B H K V"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B H K V"]]:
        """One token of the recurrence above."""
        o, state = self.run(x[:, None], state)
        return o[:, 0], state

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "B H K V"]:
        """Zeros."""
        shape = (batch, self.heads, self.channels, self.channels)
        return torch.zeros(shape, device=device, dtype=dtype)

    def state_size(self, length: int) -> int:
        """Elements of ``S``, at any length."""
        return self.heads * self.channels**2
