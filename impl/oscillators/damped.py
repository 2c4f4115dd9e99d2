"""Damped oscillators: each channel of the state is a pendulum that the token pushes and tunes.

    x'' + 2 z w x' + w^2 x = u,   h = (x, x'),   A = [[0, 1], [-w^2, -2 z w]]
    h[t] = M[t] h[t-1] + (I - A/2)^-1 (0, u[t]),   M = (I - A/2)^-1 (I + A/2)

by the bilinear rule with a step of one. With s = 1 + z w + w^2/4, M = [[s - w^2/2, 1], [-w^2, s - 2 z w
- w^2/2]] / s and |eigenvalue|^2 = det M = 1 - 2 z w / s where they are complex: at most 1 for every
w > 0 and z >= 0, without a constraint. That holds for one M. Where w changes from step to step a
product of such M grows without bound, as a swing that is pumped does, because each M shrinks the
energy of its own w only; with w constant in time nothing grows. Fixed w and z are the damped form of LinOSS (J. Boyer,
T. K. Rusch and D. Rus, 2025, arXiv:2505.12171), by another rule.

2 numbers a channel and token, 4 multiply-adds a step on a state of 2 D elements, twice a diagonal's
multiply-adds on as large a state. The M of different w do not commute, a product of two is any two by
two matrix: a scan would compose 4 numbers a channel.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.common.pair_recurrence import pair_recurrence
from impl.registry import implements, mixer


def bilinear(w: Float[Tensor, "*B D"], z: Float[Tensor, "*B D"]) -> tuple[Tensor, Tensor]:
    """``M`` [*B, 2, 2, D] and what a unit force adds to position and velocity [*B, 2, D]."""
    s = 1 + z * w + w * w / 4
    position = torch.stack([s - w * w / 2, torch.ones_like(w)], dim=-2)
    velocity = torch.stack([-w * w, s - 2 * z * w - w * w / 2], dim=-2)
    force = torch.stack([0.5 / s, 1 / s], dim=-2)
    return torch.stack([position, velocity], dim=-3) / s[..., None, None, :], force


@implements(
    "oscillator_bank",
    source="T. K. Rusch and D. Rus, ICLR 2025, arXiv:2410.03943",
    trick="oscillatory-eigenvalue-stability",
)
def scan(
    w: Float[Tensor, "B T D"],
    z: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T N"],
    h0: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B T N"]:
    """``h[t] = M(w[t], z[t]) h[t-1] + b[t]``, positions before velocities; float32 or wider inside."""
    sizes = axis_sizes(scan, w, z, b, h0)
    if sizes["N"] != 2 * sizes["D"]:
        raise ValueError(f"N={sizes['N']}, want {2 * sizes['D']}: a position and a velocity each")
    wide = torch.promote_types(b.dtype, torch.float32)
    m, _ = bilinear(w.to(wide), z.to(wide))
    pairs = b.to(wide).unflatten(-1, (2, -1))
    if h0 is not None:
        first = torch.einsum("bijd,bjd->bid", m[:, 0], h0.to(wide).unflatten(-1, (2, -1)))
        pairs = torch.cat([(pairs[:, 0] + first)[:, None], pairs[:, 1:]], dim=1)
    return pair_recurrence(m, pairs).flatten(-2).to(b.dtype)


@mixer(
    "oscillator_bank",
    source="T. K. Rusch and D. Rus, ICLR 2025, arXiv:2410.03943",
    trick="oscillatory-eigenvalue-stability",
    knobs={"selective": (True, False)},
)
class Damped(nn.Module):
    """``W_c h + d x`` of a bank; ``selective`` lets the token choose frequency, damping and force."""

    def __init__(self, width: int, *, heads: int = 1, selective: bool = True) -> None:
        super().__init__()
        if heads != 1:
            raise ValueError(f"heads={heads}, want 1: every oscillator is on its own already")
        self.u = nn.Linear(width, width, bias=False)
        self.c = nn.Linear(2 * width, width, bias=False)
        self.d = nn.Parameter(torch.ones(width))
        self.tune = nn.Linear(width, 3 * width) if selective else None
        # from a tenth of a radian a step to a quarter of a turn; 0.73 to 0.99 of the amplitude kept
        w = torch.empty(width).uniform_(0.1, 1.5)
        kept = torch.empty(width).uniform_(0.73, 0.99)
        # det M = kept^2 solved for z
        share = 1 - kept**2
        z = share * (1 + w * w / 4) / ((2 - share) * w)
        self.w, self.z = (nn.Parameter(torch.expm1(x).log()) for x in (w, z))

    def project(self, x: Float[Tensor, "*B D"]) -> tuple[Tensor, Tensor, Tensor]:
        """Frequency in radians a step, damping ratio, and force."""
        softplus = nn.functional.softplus
        if self.tune is None:
            return softplus(self.w).expand_as(x), softplus(self.z).expand_as(x), self.u(x)
        w, z, gate = self.tune(x).chunk(3, dim=-1)
        return softplus(self.w + w), softplus(self.z + z), torch.sigmoid(gate) * self.u(x)

    def states(self, x: Float[Tensor, "B T D"], h0: Tensor | None) -> Float[Tensor, "B T N"]:
        """All states."""
        w, z, u = self.project(x)
        _, force = bilinear(w, z)
        return scan(w, z, (force * u[..., None, :]).flatten(-2), h0)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.c(self.states(x, None)) + self.d * x

    def step(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B N"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B N"]]:
        """One token of the recurrence above."""
        state = self.states(x[:, None], state)[:, 0]
        return self.c(state) + self.d * x, state

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "B N"]:
        """At rest."""
        return torch.zeros(batch, 2 * len(self.w), device=device, dtype=dtype)

    def state_size(self, length: int) -> int:
        """A position and a velocity a channel, at any length."""
        return 2 * len(self.w)
