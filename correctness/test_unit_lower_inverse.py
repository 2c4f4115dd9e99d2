"""What Newton-Schulz does to the triangular system of the delta rule, and which iteration of that name.

A is the part of diag(beta) K K^T below the diagonal, beta up to 2. The polar iteration ends at the
orthogonal factor of I + A. Newton's iteration from I - A ends at the inverse, exactly, because A^C is
zero; with keys alike its iterates hold binomial coefficients, and no digit is left. From a multiple of
the transpose it keeps them, and takes more than four times as many iterations.
"""

# pyright: reportArgumentType=false
import math

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

import triton
import triton.language as tl

from correctness.case import SLACK
from correctness.interpreter import interpret
from impl.common.unit_lower import unit_lower_inverse
from impl.delta import newton_schulz

ROUNDING = torch.finfo(torch.float64).eps
LENGTHS = (16, 32, 64)
METHODS = ("doubling", "newton", "substitution")


def system(length: int, *, alike: bool = False, draws: int = 4) -> Tensor:
    """A of random keys, or of keys a tenth away from one, beta evenly drawn from (0, 2)."""
    generator = torch.Generator().manual_seed(0)
    k = torch.randn(draws, length, 64, generator=generator, dtype=torch.float64)
    if alike:
        k = k[:, :1] + 0.1 * k
    k = torch.nn.functional.normalize(k, dim=-1)
    beta = 2 * torch.rand(draws, length, 1, generator=generator, dtype=torch.float64)
    return (beta * (k @ k.mT)).tril(-1)


def whole(below: Tensor) -> Tensor:
    """``I + A``."""
    return torch.eye(below.shape[-1], dtype=below.dtype) + below


def distance(found: Tensor, true: Tensor) -> float:
    """Size of the difference over that of the truth."""
    return (torch.linalg.vector_norm(found - true) / torch.linalg.vector_norm(true)).item()


def polar(x: Tensor) -> Tensor:
    """``X <- 1.5 X - 0.5 X X^T X``, from below norm 1, until it stays."""
    x = x / torch.linalg.matrix_norm(x, ord=2, keepdim=True)
    for _ in range(64):
        x = 1.5 * x - 0.5 * x @ x.mT @ x
    return x


@triton.jit
def _inverse_kernel(
    a_ptr, x_ptr, INVERSE: tl.constexpr, PRECISION: tl.constexpr, BLOCK_T: tl.constexpr
):
    i, j = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    at = (tl.program_id(0) * BLOCK_T + i) * BLOCK_T + j
    x = unit_lower_inverse(tl.load(a_ptr + at), INVERSE, PRECISION, BLOCK_T)
    tl.store(x_ptr + at, x)


def error(below: Tensor, method: str, precision: str = "ieee") -> float:
    """What the inverse on chip errs by, its sums in float32."""
    rounded = below.float().contiguous()
    found = torch.empty_like(rounded)
    with interpret():
        _inverse_kernel[(len(rounded),)](
            rounded, found, INVERSE=method, PRECISION=precision, BLOCK_T=below.shape[-1]
        )
    return distance(found.double(), torch.linalg.inv(whole(rounded.double())))


@pytest.mark.parametrize("length", LENGTHS)
def test_the_polar_iteration_ends_at_the_orthogonal_factor(length: int) -> None:
    left, _, right = torch.linalg.svd(whole(system(length)))
    assert distance(polar(whole(system(length))), left @ right) < length**2 * ROUNDING


@pytest.mark.parametrize("alike", [False, True], ids=["keys unlike", "keys alike"])
@pytest.mark.parametrize("length", LENGTHS)
def test_the_orthogonal_factor_is_not_the_inverse(length: int, alike: bool) -> None:  # noqa: FBT001
    m = whole(system(length, alike=alike))
    factor = polar(m)
    # nor its transpose, the inverse of the factor
    assert min(distance(x, torch.linalg.inv(m)) for x in (factor, factor.mT)) > 0.25


def test_the_orthogonal_factor_is_the_inverse_where_no_two_keys_meet() -> None:
    m = whole(torch.zeros(16, 16, dtype=torch.float64))
    assert torch.equal(polar(m), torch.linalg.inv(m))


@pytest.mark.parametrize("length", LENGTHS)
def test_newtons_iteration_is_exact_after_as_many_steps_as_the_length_doubles(length: int) -> None:
    below = system(length)
    found = newton_schulz.unit_lower_inverse(below)
    assert distance(found, torch.linalg.inv(whole(below))) < length * ROUNDING


@pytest.mark.parametrize("length", LENGTHS)
def test_one_step_fewer_leaves_the_upper_half_of_the_powers(length: int) -> None:
    below = system(length, alike=True)
    x, one = whole(-below), torch.eye(length, dtype=torch.float64)
    for _ in range(int(math.log2(length)) - 2):
        x = x + x @ (one - whole(below) @ x)
    left = torch.linalg.matrix_power(below, length // 2)
    assert distance(one - whole(below) @ x, left) < ROUNDING**0.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("length", LENGTHS)
def test_keys_unlike_cost_no_way_of_inverting_its_digits(length: int, method: str) -> None:
    solved = error(system(length), "substitution")
    assert error(system(length), method) < SLACK * solved


@pytest.mark.parametrize("length", LENGTHS)
def test_keys_alike_cost_doubling_no_digits(length: int) -> None:
    solved = error(system(length, alike=True), "substitution")
    assert error(system(length, alike=True), "doubling") < SLACK * solved


@pytest.mark.parametrize("alike", [False, True], ids=["keys unlike", "keys alike"])
@pytest.mark.parametrize("length", LENGTHS)
def test_halves_of_float32_err_less_than_half_precision_shows(length: int, alike: bool) -> None:  # noqa: FBT001
    below = system(length, alike=alike)
    assert error(below, "doubling", "halves") < torch.finfo(torch.float16).eps / SLACK


@pytest.mark.parametrize(("length", "times"), [(16, 1e1), (32, 1e5), (64, 1e12)])
def test_keys_alike_cost_newtons_iteration_all_of_them(length: int, times: float) -> None:
    solved = error(system(length, alike=True), "substitution")
    assert error(system(length, alike=True), "newton") > times * solved


@pytest.mark.parametrize("length", LENGTHS)
def test_powers_of_the_system_of_one_repeated_key_are_binomial_coefficients(length: int) -> None:
    ones = torch.ones(length, length, dtype=torch.float64).tril(-1)
    for power in (1, length // 4, length // 2):
        largest = torch.linalg.matrix_power(ones, power).amax().item()
        assert largest == pytest.approx(math.comb(length - 2, power - 1))
    # while the inverse has no entry above 1
    assert torch.linalg.inv(whole(ones)).abs().amax().item() == pytest.approx(1.0)


@pytest.mark.parametrize("length", LENGTHS)
def test_from_the_transpose_it_keeps_its_digits_and_takes_four_times_as_long(length: int) -> None:
    below = system(length, alike=True).float()
    true = torch.linalg.inv(whole(below.double()))
    m = whole(below)
    norms = m.abs().sum(-1).amax(-1) * m.abs().sum(-2).amax(-1)
    x, one = m.mT / norms[:, None, None], torch.eye(length)
    errors = []
    for _ in range(32):
        x = x + x @ (one - m @ x)
        errors.append(distance(x.double(), true))
    within = SLACK * error(system(length, alike=True), "substitution")
    assert errors[-1] < within
    steps = next(i for i, each in enumerate(errors, 1) if each < within)
    assert steps > 4 * (math.log2(length) - 1)
