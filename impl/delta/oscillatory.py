"""Oscillatory Householder product: what a token reflects, damped oscillators then turn.

    h[t] = Q H[R] .. H[1] h[t-1] + b[t],   H[j] = I - beta[j] k[j] k[j]^T,   beta in (0, 2)

Q turns coordinates g and g + N/2 by omega[g] and shrinks them by radius[g] = exp(-zeta[g]), zeta > 0,
learnt and the same for every token; the reflections are the token's. b is what R corrections write,
under keys that Q has not turned yet. Every factor has norm at most 1, so every product has.
(R + V) N^2 multiply-adds a token, T steps. What it pays against the delta product without Q: the
transition is I plus rank R no more, which ends the triangular solve, and time itself moves the state.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from impl.common.axes import axis_sizes
from impl.common.delta_layer import DeltaLayer
from impl.common.matrix_scan import matrix_scan
from impl.registry import implements, mixer


@implements(
    "oscillatory_householder_transition",
    source="T. K. Rusch and D. Rus, ICLR 2025, arXiv:2410.03943;"
    " J. Boyer et al., 2025, arXiv:2505.12171; J. Siems et al., NeurIPS 2025, arXiv:2502.10297",
    trick="oscillatory-eigenvalue-stability",
    accepts={"N": {"multiple_of": 2}},
)
def scan(
    omega: Float[Tensor, " G"],
    radius: Float[Tensor, " G"],
    k: Float[Tensor, "B T R N"],
    beta: Float[Tensor, "B T R"],
    v: Float[Tensor, "B T R V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = Q H[R] .. H[1] h[t-1] + b[t]``; float32 or wider inside, angles in radians."""
    size = axis_sizes(scan, omega, radius, k, beta, v, h0)
    if size["N"] != 2 * size["G"]:
        raise ValueError(f"N={size['N']}, want twice G={size['G']}: an oscillator turns a pair")
    wide = torch.promote_types(v.dtype, torch.float32)
    omega, radius, k, beta, values = (x.to(wide) for x in (omega, radius, k, beta, v))
    # the products and their writes side by side: every correction acts on both
    eye = torch.eye(size["N"], dtype=wide, device=k.device).expand(*k.shape[:2], -1, -1)
    both = functional.pad(eye, (0, size["V"]))
    for j in range(size["R"]):
        key = k[:, :, j, :, None]
        wanted = functional.pad(values[:, :, j, None, :], (size["N"], 0))
        both = both + beta[:, :, j, None, None] * key * (wanted - key.mT @ both)
    a, b = both.split([size["N"], size["V"]], dim=-1)
    upper, lower = a.chunk(2, dim=-2)
    cosine, sine = ((radius * turn)[:, None] for turn in (omega.cos(), omega.sin()))
    a = torch.cat([cosine * upper - sine * lower, sine * upper + cosine * lower], dim=-2)
    return matrix_scan(a, b, None if h0 is None else h0.to(wide)).to(v.dtype)


@mixer(
    "oscillatory_householder_transition",
    source="T. K. Rusch and D. Rus, ICLR 2025, arXiv:2410.03943;"
    " J. Boyer et al., 2025, arXiv:2505.12171; J. Siems et al., NeurIPS 2025, arXiv:2502.10297",
    trick="oscillatory-eigenvalue-stability",
    knobs={"steps": (2, 1), "oscillation": (True, False)},
)
class Oscillatory(DeltaLayer):
    """The delta product with reflections, turned by Q; Q = I without ``oscillation``."""

    def __init__(
        self,
        width: int,
        *,
        heads: int = 1,
        keys: int = 16,
        values: int = 8,
        steps: int = 2,
        oscillation: bool = True,
    ) -> None:
        super().__init__(
            width, heads=heads, keys=keys, values=values, steps=steps, eigenvalues="signed"
        )
        if keys % 2:
            raise ValueError(f"keys={keys}, want a multiple of 2: an oscillator turns a pair")
        self.oscillation = oscillation
        if oscillation:
            # slow and hardly damped: near the identity, where a reflection survives the turning
            self.omega = nn.Parameter(0.01 * torch.randn(keys // 2))
            self.zeta = nn.Parameter(torch.full((keys // 2,), -7.0))

    def oscillators(self, x: Tensor) -> tuple[Float[Tensor, " G"], Float[Tensor, " G"]]:
        """``omega`` and ``radius``."""
        if not self.oscillation:
            return x.new_zeros(self.keys // 2), x.new_ones(self.keys // 2)
        return self.omega, torch.exp(-functional.softplus(self.zeta))

    def states(self, x: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
        k, beta = self.corrections(x)
        return scan(*self.oscillators(x), k, beta, b, h0)
