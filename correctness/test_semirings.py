"""What recurrences over other semirings are equal to, and how far they can be apart."""

import math

import torch
from torch import Tensor

from impl.common.diagonal_recurrence import diagonal_recurrence
from impl.common.semiring_walk import semiring_walk
from impl.semirings import logarithmic, tropical

WIDE = torch.float64
STEPS = 50
ROUNDING = STEPS**2 * torch.finfo(WIDE).eps
"""Of sums of as many terms as steps, once more for the logarithms."""


def drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Logarithms of decays, and what is written."""
    rng = torch.Generator().manual_seed(seed)
    a = -torch.rand(2, STEPS, 4, generator=rng, dtype=WIDE)
    return a, torch.randn(2, STEPS, 4, generator=rng, dtype=WIDE)


def test_log_semiring_is_the_diagonal_recurrence_of_positive_numbers() -> None:
    a, b = drawn(0)
    positive = diagonal_recurrence(a.exp(), b.exp())
    assert (logarithmic.scan(a, b).exp() / positive - 1).abs().max() < ROUNDING


def test_gradient_of_the_log_semiring_is_a_softmax_over_the_past() -> None:
    a, b = drawn(1)
    b.requires_grad_()
    (weights,) = torch.autograd.grad(logarithmic.scan(a, b)[:, -1].sum(), b)
    since = a.flip(1).cumsum(1).flip(1) - a
    assert (weights - (b + since).softmax(1)).abs().max() < ROUNDING


def test_no_tropical_state_is_further_from_another_than_what_made_them() -> None:
    a, b = drawn(2)
    other = b + 0.1 * drawn(3)[1]
    apart = (tropical.scan(a, b) - tropical.scan(a, other)).abs().amax(1)
    assert (apart <= (b - other).abs().amax(1) + ROUNDING).all()


def test_smooth_join_exceeds_the_maximum_by_no_more_than_its_temperature_allows() -> None:
    a, b = drawn(4)
    hard = tropical.scan(a, b)
    for temperature in (1.0, 0.1, 0.01):
        smooth = temperature * semiring_walk(a / temperature, b / temperature, None, hard=False)
        more = smooth - hard
        assert more.min() > -ROUNDING
        assert more.max() < temperature * math.log(STEPS) + ROUNDING
