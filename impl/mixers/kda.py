"""KDA: the delta rule on a memory that fades channel by channel.

    S' = diag(alpha[t]) S[t-1],   S[t] = S' + beta[t] k[t] (v[t] - S'^T k[t])^T,   o[t] = S[t]^T q[t]

with unit keys and alpha of the token, as a sigmoid or by the stable parameterisation. The state is K V
elements a head, as every delta rule's; against one decay a head it can drop single channels. Every
transition is written out here, which short sequences on a CPU train fastest by; chunks, for all
others, are ``impl/dplr/channel_gated.py``.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.decay_gates import first_bias, log_decay
from impl.common.heads import head_width, merge, split
from impl.common.matrix_scan import matrix_scan
from impl.registry import mixer


@mixer(
    "channel_gated_delta_rule",
    source="Kimi Team, 2025, arXiv:2510.26692; decay: S. Wang and Q. Li, ICML 2024, arXiv:2311.14495",
    trick="kda-constrained-dplr",
    knobs={"decay": ("sigmoid", "stable")},
)
class Kda(nn.Module):
    """``W_o norm(S^T q)`` of the delta rule with a decay a channel."""

    def __init__(self, width: int, *, heads: int = 1, decay: str = "sigmoid") -> None:
        super().__init__()
        self.heads, self.channels, self.decay = heads, head_width(width, heads), decay
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.g, self.b = nn.Linear(width, width), nn.Linear(width, heads)
        first_bias(self.g.bias, decay)
        self.norm = nn.RMSNorm(self.channels)

    def run(self, x: Float[Tensor, "B T D"], state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Output of all tokens, and the last state."""
        q, k, v, f = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v, self.g))
        q, k = (functional.normalize(functional.silu(u), dim=-1) for u in (q, k))
        beta, alpha = split(torch.sigmoid(self.b(x)), self.heads), log_decay(f, self.decay).exp()
        # (I - beta k k^T) diag(alpha)
        steps = torch.diag_embed(alpha) - (beta * k)[..., :, None] * (alpha * k)[..., None, :]
        written = (beta * k)[..., :, None] * v[..., None, :]
        start = None if state is None else state.flatten(0, 1)
        h = matrix_scan(steps.flatten(0, 1), written.flatten(0, 1), start)
        h = h.unflatten(0, (-1, self.heads))
        return self.o(merge(self.norm((q[..., None, :] @ h)[..., 0, :]))), h[:, :, -1]

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
        """An empty memory."""
        shape = (batch, self.heads, self.channels, self.channels)
        return torch.zeros(shape, device=device, dtype=dtype)

    def state_size(self, length: int) -> int:
        """Elements of ``S``, at any length."""
        return self.heads * self.channels**2
