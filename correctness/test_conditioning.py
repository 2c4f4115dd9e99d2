"""Whether Cauchy-like transitions are hard to train, and what is: their kernel, or their size.

The map (g, f) -> kernel * g f^T is asked for its condition number, over its non-zero singular values,
at normal generators of 16 coordinates: evenly spaced nodes cost less than a factor of ten over the
kernel of ones, float32 computes its gradients to a few of its roundings. What breaks training is what
is done about the size of A: without a bound, nodes within (0, 1) multiply a gradient by 10^12 over 12
tokens and leave float32 by 20; the Frobenius norm divides the first token's by 10^12. A bound on the
columns does neither.
"""

import math

import pytest
import torch
from torch import Tensor

from correctness.test_transitions_in_frequency import WIDTH, draw, rounding, transitions_of
from impl.common.column_bounds import bounded_columns
from impl.common.matrix_scan import matrix_scan
from impl.common.routing import column_routing
from impl.transitions.cauchy import START, cauchy_like, reciprocal_gaps
from impl.transitions.group_matrix import GroupMatrix, signed_permutations

N = 16
RANKS = (1, 2, 4, 16)
WEIGHT = 3**-0.5
"""Spread of what an ordinary linear map makes of inputs of spread 1."""


def kernel(nodes: str, spacing: float = 1.0) -> Tensor:
    columns = spacing * torch.arange(N, dtype=torch.float64)
    return reciprocal_gaps(columns + (0.5 * spacing if nodes == "spread" else 0.0), columns)


def condition(kernel: Tensor, rank: int) -> float:
    """Largest over smallest singular value of d A / d (g, f), those of no effect left out."""
    generator = torch.Generator().manual_seed(0)
    generators = torch.randn(2, N, rank, generator=generator, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda p: kernel * (p[0] @ p[1].mT), generators)
    assert isinstance(jacobian, Tensor)
    values = torch.linalg.svdvals(jacobian.flatten(0, 1).flatten(1))
    return (values[0] / values[values > 1e-9 * values[0]][-1]).item()


def gradient(
    kernel: Tensor, length: int, norm: str, dtype: torch.dtype = torch.float64, rank: int = 4
) -> Tensor:
    """Of the last state's root mean square with respect to every token's g, as layers start."""
    generator = torch.Generator().manual_seed(0)
    size = WEIGHT * (START if norm == "columns" else 1.0)
    drawn = torch.randn(2, 1, length, N, rank, generator=generator, dtype=torch.float64) * size
    b = torch.randn(1, length, N, 8, generator=generator, dtype=torch.float64)
    g, f = drawn.to(dtype)
    g.requires_grad_()
    a = cauchy_like(g, f, torch.ones(1, length, N, dtype=dtype), kernel.to(dtype))
    if norm == "columns":
        a = bounded_columns(a)
    elif norm == "frobenius":
        a = a / torch.linalg.matrix_norm(a, keepdim=True)
    matrix_scan(a, b.to(dtype))[:, -1].square().mean().sqrt().backward()
    assert g.grad is not None
    return g.grad[0]


def first(*question: object) -> float:
    """Length of the gradient of the earliest token whose transition counts."""
    return gradient(*question)[1].norm().item()  # pyright: ignore[reportArgumentType]


def rank_of(a: Tensor) -> int:
    return int(torch.linalg.matrix_rank(a))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("nodes", ["spread", "close"])
def test_evenly_spaced_nodes_cost_less_than_a_factor_of_ten(nodes: str, rank: int) -> None:
    ones = condition(torch.ones(N, N, dtype=torch.float64), rank)
    assert condition(kernel(nodes), rank) < 10 * ones


@pytest.mark.parametrize("rank", RANKS)
def test_spacing_scales_the_kernel_and_leaves_its_condition(rank: int) -> None:
    assert condition(kernel("close", 1 / N), rank) == pytest.approx(
        condition(kernel("close"), rank)
    )


@pytest.mark.parametrize("rank", RANKS)
def test_nodes_that_nearly_meet_are_worse_conditioned(rank: int) -> None:
    nodes = torch.arange(N, dtype=torch.float64)
    nodes[1] = 1e-3
    assert condition(reciprocal_gaps(nodes, nodes), rank) > 10 * condition(kernel("close"), rank)


@pytest.mark.parametrize("nodes", ["spread", "close"])
def test_float32_computes_the_gradients_of_a_bounded_layer(nodes: str) -> None:
    exact = gradient(kernel(nodes), 20, "columns")
    rounded = gradient(kernel(nodes), 20, "columns", torch.float32)
    # one rounding a step, and sums of N terms in each
    bound = 20 * math.sqrt(N) * torch.finfo(torch.float32).eps
    assert (rounded - exact).norm() < bound * exact.norm()


def test_without_a_bound_close_nodes_multiply_a_gradient_out_of_float32() -> None:
    within_one = kernel("close", 1 / N)
    assert 1e11 < first(within_one, 12, "none") < 1e15
    exact, rounded = (
        gradient(within_one, 20, "none", dtype) for dtype in (torch.float64, torch.float32)
    )
    assert not (rounded - exact).norm() < 0.5 * exact.norm()


@pytest.mark.parametrize("nodes", ["spread", "close"])
def test_a_frobenius_norm_takes_the_first_tokens_gradient_away(nodes: str) -> None:
    assert first(kernel(nodes), 12, "frobenius") < 1e-6
    assert first(kernel(nodes), 20, "frobenius") < 1e-11


@pytest.mark.parametrize("nodes", ["spread", "close"])
@pytest.mark.parametrize("length", [12, 20])
def test_bounded_columns_keep_the_first_tokens_gradient(nodes: str, length: int) -> None:
    found = gradient(kernel(nodes), length, "columns").norm(dim=(1, 2))
    assert found[1] > 0.01 * found[-1]
    assert found[1] < 100 * found[-1]


@pytest.mark.parametrize(
    ("mixer", "knobs"),
    [
        ("transitions.dense", {}),
        ("transitions.cauchy", {}),
        ("transitions.dplr_column_sparse", {"routed": False}),
        ("transitions.group_matrix", {}),
    ],
)
def test_the_longest_column_of_a_large_transition_has_length_one(
    mixer: str, knobs: dict[str, bool]
) -> None:
    a = transitions_of(mixer, 1e4 * draw(32, WIDTH), **knobs)
    longest = torch.linalg.vector_norm(a, dim=-2).amax(-1)
    assert (longest - 1).abs().max() <= rounding(N)


@pytest.mark.parametrize(
    ("mixer", "knobs"),
    [
        ("transitions.dense", {}),
        ("transitions.cauchy", {}),
        ("transitions.dplr_column_sparse", {}),
        ("transitions.group_matrix", {"weights": "free"}),
        ("transitions.group_matrix", {"weights": "softmax"}),
        ("transitions.monarch", {}),
    ],
)
def test_a_layer_starts_nearer_to_the_identity_than_to_zero(
    mixer: str, knobs: dict[str, str]
) -> None:
    a = transitions_of(mixer, torch.zeros(1, WIDTH, dtype=torch.float64), **knobs)
    assert torch.linalg.matrix_norm(a - torch.eye(N, dtype=torch.float64), ord=2).max() < 0.5


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_part_beside_the_diagonal_has_the_displacement_rank_that_is_asked_for(
    rank: int,
) -> None:
    generator = torch.Generator().manual_seed(0)
    g, f = torch.randn(2, N, rank, generator=generator, dtype=torch.float64)
    columns = torch.arange(N, dtype=torch.float64)
    c = cauchy_like(g, f, torch.zeros(N, dtype=torch.float64), kernel("spread"))
    assert rank_of((columns + 0.5)[:, None] * c - c * columns) == rank


def test_a_group_matrix_commutes_with_what_mixes_its_copies_and_not_with_its_own_kind() -> None:
    generator = torch.Generator().manual_seed(0)
    rho = signed_permutations(4).double()
    one, other, mixing = (
        torch.einsum("g,gij->ij", torch.randn(len(rho), generator=generator).double(), rho)
        for _ in range(3)
    )
    copies = torch.eye(4, dtype=torch.float64)
    a, z = torch.kron(copies, one), torch.kron(mixing, copies)
    u, v = torch.randn(2, N, 1, generator=generator, dtype=torch.float64)
    assert rank_of(z @ a - a @ z) == 0
    assert rank_of(z @ (a + u @ v.mT) - (a + u @ v.mT) @ z) == 2
    assert rank_of(torch.kron(copies, other) @ a - a @ torch.kron(copies, other)) > 2


def test_the_elements_are_half_the_hyperoctahedral_group_and_span_every_matrix() -> None:
    rho = signed_permutations(4)
    both = {tuple(g.flatten().tolist()) for g in torch.cat([rho, -rho])}
    assert len(both) == 2**4 * math.factorial(4)
    assert all(tuple((g @ rho[5]).flatten().tolist()) in both for g in rho)
    assert torch.equal(rho[0], torch.eye(4))
    assert rank_of(rho.flatten(1)) == 16


def test_soft_weights_reach_every_element_and_its_negative() -> None:
    layer = GroupMatrix(WIDTH, weights="softmax").double()
    torch.nn.init.zeros_(layer.c.weight)
    elements = torch.eye(len(layer.rho), dtype=torch.float64)
    for place, wanted in enumerate(torch.cat([elements, -elements])[::97]):
        with torch.no_grad():
            layer.c.bias.copy_(1e3 * (torch.arange(2 * len(elements)) == 97 * place))
            found = layer.weights(torch.zeros(1, 1, WIDTH, dtype=torch.float64))[0, 0]
        assert torch.equal(found, wanted)


def test_routing_is_one_hot_forward_and_a_softmax_backward() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    dictionary = torch.randn(3, 7, 7, generator=generator, dtype=torch.float64)
    weight = torch.randn(5, 7, 7, generator=generator, dtype=torch.float64)
    hard, soft = (logits.clone().requires_grad_() for _ in range(2))
    p = column_routing(hard, dictionary)
    scores = torch.einsum("bm,mij->bij", soft.softmax(-1), dictionary)
    assert torch.equal(p.sum(-2), torch.ones(5, 7, dtype=torch.float64))
    assert torch.equal(p.argmax(-2), scores.argmax(-2))
    assert set(p.flatten().tolist()) == {0.0, 1.0}
    (p * weight).sum().backward()
    (scores.softmax(-2) * weight).sum().backward()
    torch.testing.assert_close(hard.grad, soft.grad)
