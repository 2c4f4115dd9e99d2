"""Second-order KDA: what is erased is the direction of the past keys that the new one calls up.

    P[t] = gamma P[t-1] + k[t] k[t]^T,   e[t] = P[t] k[t] / |P[t] k[t]|
    S[t] = (diag(alpha[t]) - beta[t] e[t] e[t]^T) S[t-1] + beta[t] k[t] v[t]^T,   o[t] = S[t]^T q[t]

with unit keys. e is causal linear attention of the keys over themselves, so that it is there for all
steps before the state is walked, which then is a delta rule whose removal is not tied to its key.
Divided by its length e keeps every transition's norm at most 1; undivided, |P k| reaches
1 / (1 - gamma), and the step is a reflection that grows.

Every transition is written out here, which short sequences on a CPU train fastest by; chunks, for all
others, are ``impl/dplr/generalised.py``. P is K^2 elements a head beside the K V of S: twice the state, and T^2 K multiply-adds more, or
T C K + 2 T K^2 in chunks. ``metric`` none takes e = k.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.decay_gates import first_bias, log_decay
from impl.common.heads import head_width, merge, split
from impl.common.matrix_scan import matrix_scan
from impl.registry import mixer


def called_up(
    k: Float[Tensor, "B H T K"], log_gamma: Float[Tensor, " H"], before: Tensor
) -> tuple[Float[Tensor, "B H T K"], Float[Tensor, "B H K K"]]:
    """``P[t] k[t]`` for all steps, and the last ``P``, from ``before``."""
    steps = torch.arange(k.shape[2], device=k.device, dtype=k.dtype)
    apart = (steps[:, None] - steps).clamp_min(0.0)
    weights = (log_gamma[:, None, None] * apart).exp().tril()  # [H, T, T]
    since = (log_gamma[:, None] * (steps + 1)).exp()  # [H, T]
    found = (k @ k.mT * weights) @ k + since[..., None] * (k @ before)
    return found, since[:, -1, None, None] * before + (weights[:, -1, :, None] * k).mT @ k


@mixer(
    "generalised_delta_rule",
    source="Kimi Team, 2025, arXiv:2510.26692; Y. Zhang, Z. Qin and Q. Gu, 2025, arXiv:2510.27258",
    trick="higher-order-linear-attention",
    knobs={"metric": ("moment", "none")},
)
class SecondOrder(nn.Module):
    """``W_o norm(S^T q)`` with the erased direction from the keys' second moment, or from the key."""

    def __init__(self, width: int, *, heads: int = 1, metric: str = "moment") -> None:
        super().__init__()
        if metric not in ("moment", "none"):
            raise ValueError(f"metric={metric!r}, want 'moment' or 'none'")
        self.heads, self.channels = heads, head_width(width, heads)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.g, self.b = nn.Linear(width, width), nn.Linear(width, heads)
        first_bias(self.g.bias, "sigmoid")
        # remembers 56 keys before training
        self.gamma = nn.Parameter(torch.full((heads,), 4.0)) if metric == "moment" else None
        self.norm = nn.RMSNorm(self.channels)

    def run(self, x: Float[Tensor, "B T D"], state: Tensor) -> tuple[Tensor, Tensor]:
        """Output of all tokens and the last state, ``S`` with ``P`` behind it."""
        q, k, v, f = (split(layer(x), self.heads) for layer in (self.q, self.k, self.v, self.g))
        q, k = (functional.normalize(functional.silu(u), dim=-1) for u in (q, k))
        memory, moment = state[..., : self.channels], state[..., self.channels :]
        e = k
        if self.gamma is not None:
            found, moment = called_up(k, functional.logsigmoid(self.gamma), moment)
            e = functional.normalize(found, dim=-1)
        beta, alpha = split(torch.sigmoid(self.b(x)), self.heads), log_decay(f, "sigmoid").exp()
        steps = torch.diag_embed(alpha) - (beta * e)[..., :, None] * e[..., None, :]
        written = (beta * k)[..., :, None] * v[..., None, :]
        h = matrix_scan(steps.flatten(0, 1), written.flatten(0, 1), memory.flatten(0, 1))
        h = h.unflatten(0, (-1, self.heads))
        o = self.norm((q[..., None, :] @ h)[..., 0, :])
        return self.o(merge(o)), torch.cat([h[:, :, -1], moment], dim=-1)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.run(x, self.initial(len(x), x.device, x.dtype))[0]

    def step(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B H K N"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B H K N"]]:
        """One token of the recurrence above."""
        o, state = self.run(x[:, None], state)
        return o[:, 0], state

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "B H K N"]:
        """An empty memory of no keys."""
        parts = 1 if self.gamma is None else 2
        shape = (batch, self.heads, self.channels, parts * self.channels)
        return torch.zeros(shape, device=device, dtype=dtype)

    def state_size(self, length: int) -> int:
        """Elements of ``S`` and ``P``, at any length."""
        return self.heads * self.channels**2 * (1 if self.gamma is None else 2)
