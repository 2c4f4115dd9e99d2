"""What the equation of motion promises of oscillators, and what it does not."""

import pytest
import torch
from torch import Tensor

from impl.oscillators.coupled import resolvent, scan
from impl.oscillators.damped import bilinear

WIDE = torch.float64
TOUCH = 1 + torch.finfo(WIDE).eps ** 0.5
"""An eigenvalue on the circle that is double is found to half the digits."""


def pair(w: float, z: float) -> Tensor:
    """``M`` of one oscillator."""
    return bilinear(torch.tensor([w], dtype=WIDE), torch.tensor([z], dtype=WIDE))[0][..., 0]


def radius(m: Tensor) -> float:
    """The largest modulus of an eigenvalue."""
    return float(torch.linalg.eigvals(m).abs().max())


def coupled(p: Tensor, q: Tensor) -> float:
    """The spectral radius of eight oscillators with ``p q^T`` between their velocities."""
    w, z = torch.linspace(0.1, 1.5, 8, dtype=WIDE), torch.full((8,), 0.05, dtype=WIDE)
    f = resolvent(w, z, p, q)
    return radius(2 * f - torch.eye(16, dtype=WIDE))


def test_no_eigenvalue_of_one_oscillator_leaves_the_circle() -> None:
    frequencies, dampings = (
        torch.logspace(-3, 3, 25),
        torch.cat([torch.zeros(1), torch.logspace(-3, 3, 25)]),
    )
    assert max(radius(pair(float(w), float(z))) for w in frequencies for z in dampings) <= TOUCH


def test_steps_of_changing_frequency_grow_without_bound_though_each_is_stable() -> None:
    # a swing is pumped at twice its own frequency: stiff on the way in, soft on the way out
    stiff, soft = pair(2.0, 0.01), pair(0.5, 0.01)
    cycles = [
        torch.linalg.matrix_power(stiff, a) @ torch.linalg.matrix_power(soft, b)
        for a in range(1, 5)
        for b in range(1, 9)
    ]
    assert radius(stiff) < 1
    assert radius(soft) < 1
    assert max(radius(cycle) for cycle in cycles) > 2


def test_coupling_of_low_rank_may_drive_oscillators_apart_unless_it_damps_them() -> None:
    rng = torch.Generator().manual_seed(0)
    p, q = (torch.randn(8, 2, generator=rng, dtype=WIDE) for _ in range(2))
    none = torch.zeros(8, 0, dtype=WIDE)
    assert coupled(none, none) < 1
    assert coupled(p, q) > 1
    assert coupled(p, p) > 1
    assert coupled(p, -p) < 1


@pytest.mark.parametrize("rank", [0, 2])
def test_a_bank_as_small_as_the_reported_one_fits_damped_waves_before_it_is_trained(
    rank: int,
) -> None:
    # 16 states, 128 steps and the printed ranges; where an error of 0.854 stayed for 50 epochs, neither
    # size nor first values nor coupling are the reason: a readout by least squares is enough
    rng = torch.Generator().manual_seed(0)

    def draw(low: float, high: float, count: int) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=rng, dtype=WIDE)

    bank = draw(0.01, 0.1, 8), draw(0.2, 0.8, 8)
    p, q = (torch.randn(8, rank, generator=rng, dtype=WIDE) / 8 for _ in range(2))
    push = torch.zeros(1, 128, 16, dtype=WIDE)
    push[0, 0] = resolvent(*bank, p, q)[:, 8:].sum(1)
    states = scan(*bank, p, q, push)[0]
    states = states / states.norm(dim=0)

    w, z, t = draw(0.01, 0.1, 64), draw(0.2, 0.8, 64), torch.arange(128, dtype=WIDE)[:, None]
    waves = torch.exp(-z * w * t) * torch.cos(w * (1 - z**2).sqrt() * t + draw(0, 6.28, 64))
    # weights stay moderate, as a trained readout's would
    ridge = 1e-3 * torch.eye(16, dtype=WIDE)
    readout = torch.linalg.solve(states.mT @ states + ridge, states.mT @ waves)
    left = (states @ readout - waves).square().sum() / waves.square().sum()
    assert left < 1e-3
