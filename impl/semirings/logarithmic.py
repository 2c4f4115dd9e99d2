"""Log-semiring recurrence: a softmax over the past whose weights are kept as logarithms.

    h[t] = log(exp(a[t] + h[t-1]) + exp(b[t])) = log sum over s <= t of exp(a[s+1] + ... + a[t] + b[s])

It is the diagonal recurrence exp(h[t]) = exp(a[t]) exp(h[t-1]) + exp(b[t]) of positive numbers, written
in logarithms: the same function, without a bound on the range of its numbers. The gradient of h[T] by
b[s] is the softmax weight of step s among all steps up to T.

An exponential and a logarithm an element and step, and no product of matrices. ``doubling`` composes

    (a2, b2) o (a1, b1) = (a1 + a2, log(exp(a2 + b1) + exp(b2)))

over log2 T distances, T log T of them in log T dependent steps. ``cumulative`` takes one running sum of
exponentials, A[t] + log sum of exp(b[s] - A[s]) with A the running sum of a: T of work, and the digits
lost that A is larger than h.

The mixer keeps three states a channel: the sum of the weights and, as u = softplus(u) - softplus(-u),
what they weigh of either part. Its output is an average of the past u whose weights no later token
can choose by what it asks for.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.semiring_walk import join, semiring_walk
from impl.registry import implements, mixer


@implements(
    "log_recurrence", source="F. A. Heinsen, 2023, arXiv:2311.06281", trick="log-semiring-scan"
)
def scan(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """All states by a loop; float32 or wider inside."""
    axis_sizes(scan, a, b, h0)
    wide = torch.promote_types(b.dtype, torch.float32)
    first = None if h0 is None else h0.to(wide)
    return semiring_walk(a.to(wide), b.to(wide), first, hard=False).to(b.dtype)


@implements(
    "log_recurrence",
    source="F. A. Heinsen, 2023, arXiv:2311.06281",
    trick="semiring-monoid-lifting",
)
def doubling(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """All states by log2 T shifts of the whole sequence; float32 or wider inside."""
    axis_sizes(doubling, a, b, h0)
    wide = torch.promote_types(b.dtype, torch.float32)
    first = None if h0 is None else h0.to(wide)
    return doubled(a.to(wide), b.to(wide), first, hard=False).to(b.dtype)


@implements(
    "log_recurrence",
    source="F. A. Heinsen, 2023, arXiv:2311.06281",
    excuses={
        "backward": "the running sum of a is larger than h, and takes its digits",
        "extreme": "the running sum of a passes -1000, and takes all digits but four",
        "growth": "the running sum of a is larger than h, and takes its digits",
    },
)
def cumulative(
    a: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T D"],
    h0: Float[Tensor, "B D"] | None = None,
) -> Float[Tensor, "B T D"]:
    """All states by two running sums; float32 or wider inside."""
    axis_sizes(cumulative, a, b, h0)
    wide = torch.promote_types(b.dtype, torch.float32)
    b_wide = b.to(wide)
    if h0 is not None:
        start = torch.logaddexp(a[:, 0].to(wide) + h0.to(wide), b_wide[:, 0])
        b_wide = torch.cat([start[:, None], b_wide[:, 1:]], dim=1)
    since = nn.functional.pad(a[:, 1:].to(wide), (0, 0, 1, 0)).cumsum(1)
    return (since + torch.logcumsumexp(b_wide - since, dim=1)).to(b.dtype)


def doubled(a: Tensor, b: Tensor, h0: Tensor | None, *, hard: bool) -> Tensor:
    """All states by shifts of 1, 2, 4, ... steps."""
    if h0 is not None:
        first = join(a[:, 0] + h0, b[:, 0], hard=hard)
        b = torch.cat([first[:, None], b[:, 1:]], dim=1)
    reach = 1
    while reach < b.shape[1]:
        # b holds what the last ``reach`` steps wrote, a what they all take
        near = join(a[:, reach:] + b[:, :-reach], b[:, reach:], hard=hard)
        b = torch.cat([b[:, :reach], near], dim=1)
        a = torch.cat([a[:, :reach], a[:, reach:] + a[:, :-reach]], dim=1)
        reach *= 2
    return b


@mixer("log_recurrence", source="F. A. Heinsen, 2023, arXiv:2311.06281", trick="log-semiring-scan")
class Logarithmic(nn.Module):
    """``W_c y + d x``, ``y`` the average of ``W_u x`` with weights ``exp(W_i x)`` that decay."""

    def __init__(self, width: int, *, heads: int = 1) -> None:
        super().__init__()
        if heads != 1:
            raise ValueError(f"heads={heads}, want 1: every channel is on its own already")
        self.a, self.i = nn.Linear(width, width), nn.Linear(width, width)
        self.u = nn.Linear(width, width, bias=False)
        self.c = nn.Linear(width, width, bias=False)
        self.d = nn.Parameter(torch.ones(width))
        # decays of 0.73 to 0.99 remember 4 to 150 tokens
        nn.init.uniform_(self.a.bias, 1.0, 5.0)

    def project(self, x: Float[Tensor, "*B D"]) -> tuple[Tensor, Tensor]:
        """Decays and what is written, both logarithms: of the weight, and of it times either part."""
        weight, u = self.i(x), self.u(x)
        parts = [weight, weight + log_softplus(u), weight + log_softplus(-u)]
        return nn.functional.logsigmoid(self.a(x)).repeat_interleave(3, -1), torch.stack(
            parts, dim=-1
        ).flatten(-2)

    def readout(self, h: Float[Tensor, "*B N"], x: Float[Tensor, "*B D"]) -> Tensor:
        """``W_c (exp(positive - sum) - exp(negative - sum)) + d x``."""
        whole, positive, negative = h.unflatten(-1, (-1, 3)).unbind(-1)
        return self.c((positive - whole).exp() - (negative - whole).exp()) + self.d * x

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.readout(scan(*self.project(x)), x)

    def step(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B N"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B N"]]:
        """One token of the recurrence above."""
        a, b = self.project(x)
        state = torch.logaddexp(a + state, b)
        return self.readout(state, x), state

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "B N"]:
        """Weights of zero, whose logarithm is minus infinity."""
        return torch.full((batch, 3 * len(self.d)), -torch.inf, device=device, dtype=dtype)

    def state_size(self, length: int) -> int:
        """Three logarithms a channel, at any length."""
        return 3 * len(self.d)


def log_softplus(x: Tensor) -> Tensor:
    """``log(log(1 + exp(x)))``, which far below zero is x itself."""
    far = x < -20.0  # exp(x) is then below float32's rounding of 1
    return torch.where(far, x, nn.functional.softplus(x.masked_fill(far, 0.0)).log())
