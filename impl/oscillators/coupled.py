"""Coupled oscillators: a fixed bank whose velocities push one another through few channels.

    x'' + 2 z w x' + w^2 x = P Q^T x' + u,   h = (x, x')
    h[t] = M h[t-1] + F (0, u[t]),   F = (I - A/2)^-1,   M = F (I + A/2) = 2 F - I

by the bilinear rule with a step of one, A diagonal blocks plus a matrix of rank R. With F0 the blocks'
own inverse and s = 1 + z w + w^2/4, Woodbury needs one R x R system for all steps:

    G = F0 (0, P),   L = (0, Q)^T F0,   C = I - Q^T diag(1/s) P / 2,   F = F0 + G C^-1 L / 2

M is the same at every step, so that T states take log2 T shifts and products: N^2 T log T
multiply-adds in log T steps, where a walk takes 2 N (2 + R) T in T. The blocks alone are stable for every
w > 0 and z >= 0. With P Q^T they need not be: feedback of a velocity onto itself, Q = P, drives it. Only
Q = -P, which takes energy away, needs no constraint.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from impl.common.axes import axis_sizes
from impl.registry import implements, mixer


def resolvent(
    w: Float[Tensor, " D"],
    z: Float[Tensor, " D"],
    p: Float[Tensor, "D R"],
    q: Float[Tensor, "D R"],
) -> Float[Tensor, "N N"]:
    """``F = (I - A/2)^-1`` by the R x R system."""
    s = 1 + z * w + w * w / 4
    position = torch.cat([((1 + z * w) / s).diag(), (0.5 / s).diag()], dim=1)
    velocity = torch.cat([(-w * w / 2 / s).diag(), (1 / s).diag()], dim=1)
    alone = torch.cat([position, velocity])
    n = len(w)
    pushed, heard = alone[:, n:] @ p, q.mT @ alone[n:]
    capacitance = torch.eye(p.shape[1], dtype=p.dtype, device=p.device) - heard[:, n:] @ p / 2
    return alone + pushed @ torch.linalg.solve(capacitance, heard) / 2


@implements(
    "coupled_oscillators",
    source="T. K. Rusch and D. Rus, ICLR 2025, arXiv:2410.03943; A. Gu et al., ICLR 2022, arXiv:2111.00396",
    trick="woodbury-resolvent",
)
def scan(
    w: Float[Tensor, " D"],
    z: Float[Tensor, " D"],
    p: Float[Tensor, "D R"],
    q: Float[Tensor, "D R"],
    b: Float[Tensor, "B T N"],
    h0: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B T N"]:
    """``h[t] = M h[t-1] + b[t]`` by doubling; float32 or wider inside."""
    sizes = axis_sizes(scan, w, z, p, q, b, h0)
    if sizes["N"] != 2 * sizes["D"]:
        raise ValueError(f"N={sizes['N']}, want {2 * sizes['D']}: a position and a velocity each")
    wide = torch.promote_types(b.dtype, torch.float32)
    f = resolvent(*(x.to(wide) for x in (w, z, p, q)))
    # in float64, for every squaring doubles the error of the power: N x N numbers, once
    m = (2 * f - torch.eye(len(f), dtype=wide, device=f.device)).mT.double()
    h = b.to(wide)
    if h0 is not None:
        h = torch.cat([h[:, :1] + (h0.to(wide) @ m.to(wide))[:, None], h[:, 1:]], dim=1)
    reach = 1
    while reach < sizes["T"]:
        # h holds sums over ``reach`` steps, m is the power of as many
        h = h + nn.functional.pad(h[:, :-reach] @ m.to(wide), (0, 0, reach, 0))
        m, reach = m @ m, 2 * reach
    return h.to(b.dtype)


@mixer(
    "coupled_oscillators",
    source="T. K. Rusch and D. Rus, ICLR 2025, arXiv:2410.03943; A. Gu et al., ICLR 2022, arXiv:2111.00396",
    trick="woodbury-resolvent",
    knobs={"rank": (0, 2), "coupling": ("free", "damping")},
)
class Coupled(nn.Module):
    """``W_c h + d x`` of a fixed bank; ``coupling`` is any ``P Q^T``, or ``-P P^T``."""

    def __init__(
        self, width: int, *, heads: int = 1, rank: int = 2, coupling: str = "free"
    ) -> None:
        super().__init__()
        if heads != 1:
            raise ValueError(f"heads={heads}, want 1: the oscillators are coupled to one another")
        if coupling not in ("free", "damping"):
            raise ValueError(f"coupling={coupling!r}, want 'free' or 'damping'")
        self.u = nn.Linear(width, width, bias=False)
        self.c = nn.Linear(2 * width, width, bias=False)
        self.d = nn.Parameter(torch.ones(width))
        # from a tenth of a radian a step to a quarter of a turn; dampings of 0.01 to 0.1
        w, z = torch.empty(width).uniform_(0.1, 1.5), torch.empty(width).uniform_(0.01, 0.1)
        self.w, self.z = (nn.Parameter(torch.expm1(x).log()) for x in (w, z))
        free, small = rank > 0 and coupling == "free", 0.1 / width**0.5
        self.p = nn.Parameter(torch.randn(width, rank) * small) if rank else None
        self.q = nn.Parameter(torch.randn(width, rank) * small) if free else None

    def bank(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Frequencies in radians a step, damping ratios, ``P`` and ``Q``."""
        w, z = nn.functional.softplus(self.w), nn.functional.softplus(self.z)
        p = w.new_zeros(len(w), 0) if self.p is None else self.p
        return w, z, p, -p if self.q is None else self.q

    def states(self, x: Float[Tensor, "B T D"], h0: Tensor | None) -> Float[Tensor, "B T N"]:
        """All states."""
        bank = self.bank()
        return scan(*bank, self.u(x) @ resolvent(*bank)[:, x.shape[-1] :].mT, h0)

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
