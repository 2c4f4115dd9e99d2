"""Which families of transitions are closed under products: a scan that composes them must know.

Every family has an exact test of membership: a distance that is zero on the family and on nothing else
(of generic matrices). It is held against members first, then against the product of two of them.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from correctness.ops.transitions.column_sparse_transition import one_entry_a_column
from correctness.ops.transitions.monarch_transition import block_diagonal, shuffle
from correctness.ops.transitions.monomial_transition import block_permutation

N, SIZE, RANK = 16, 4, 2
ROUNDING = torch.finfo(torch.float64).eps
CLOSED, OPEN = N**4 * ROUNDING, ROUNDING**0.25
"""A distance of rounding, after N^2 operations on figures that lost half their digits, and no such."""


def normal(*shape: int) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(shape, dtype=torch.float64)


def orthogonal(*shape: int) -> Tensor:
    """Orthogonal matrices of normal ones."""
    return torch.linalg.qr(normal(*shape))[0]


def circ(c: Tensor) -> Tensor:
    """The circulant of first column ``c``."""
    n = torch.arange(len(c))
    return c[(n[:, None] - n) % len(n)]


def permutation(n: int) -> Tensor:
    """A permutation matrix."""
    return torch.eye(n, dtype=torch.float64)[torch.randperm(n)]


# members


def circulant() -> Tensor:
    """``circ(c)``."""
    return circ(normal(N))


def circulant_diagonal() -> Tensor:
    """``D1 circ(c) D2``."""
    return normal(N)[:, None] * circ(normal(N)) * normal(N)


def monarch() -> Tensor:
    """``P L P^T R`` with any blocks: group-and-shuffle with two factors of as many blocks as rows."""
    return group_and_shuffle(normal(SIZE, SIZE, SIZE), normal(SIZE, SIZE, SIZE))


def orthogonal_monarch() -> Tensor:
    """``P L P^T R`` with orthogonal blocks."""
    return group_and_shuffle(orthogonal(SIZE, SIZE, SIZE), orthogonal(SIZE, SIZE, SIZE))


def group_and_shuffle(left: Tensor, right: Tensor) -> Tensor:
    """``P L P^T R`` with the blocks given."""
    p = shuffle(SIZE)
    l, r = (block_diagonal(x.flatten(0, 1)) for x in (left, right))
    return p @ l @ p.T @ r


def shuffled_permutation() -> Tensor:
    """``P L P^T R D`` with permutations in the blocks: what the mixer takes of a token."""
    orders = [torch.stack([torch.randperm(SIZE) for _ in range(SIZE)]).double() for _ in range(2)]
    l, r = (block_permutation(x) for x in orders)
    p = shuffle(SIZE)
    return p @ l @ p.T @ r * normal(N)


def monomial() -> Tensor:
    """A permutation times a diagonal."""
    return permutation(N) * normal(N)


def signed_permutation() -> Tensor:
    """A permutation times a diagonal of signs."""
    return permutation(N) * normal(N).sign()


def column_sparse() -> Tensor:
    """One entry in every column."""
    return one_entry_a_column(torch.randint(N, (N,)).double(), normal(N))


def low_rank() -> Tensor:
    """A diagonal plus a matrix of rank 2."""
    return torch.diag(normal(N)) + normal(N, RANK) @ normal(RANK, N)


def cauchy_like() -> Tensor:
    """``A_ij = (g_i . h_j) / (s_i - t_j)``, g and h of 2 columns."""
    return normal(N, RANK) @ normal(RANK, N) / (nodes(0)[:, None] - nodes(1))


def nodes(which: int) -> Tensor:
    """Of two sets of nodes that interleave the one or the other."""
    return torch.arange(N, dtype=torch.float64) / N + which / (2 * N)


def householder() -> Tensor:
    """``I - beta k k^T`` with a unit k."""
    k = torch.nn.functional.normalize(normal(N), dim=0)
    return torch.eye(N, dtype=torch.float64) - 2 * torch.rand(()).double() * torch.outer(k, k)


def cayley_circulant() -> Tensor:
    """``(I + S)^-1 (I - S)`` of a skew circulant S."""
    c = normal(N)
    s, one = circ(c) - circ(c).T, torch.eye(N, dtype=torch.float64)
    return torch.linalg.solve(one + s, one - s)


# distances


def from_circulant(a: Tensor) -> float:
    """What is left of ``a`` when the mean of every cyclic diagonal is taken away."""
    n = torch.arange(N)
    diagonals = a[n, (n - n[:, None]) % N]
    return relative(diagonals - diagonals.mean(dim=1, keepdim=True), a)


def from_orthogonal_circulant(a: Tensor) -> float:
    """Distance from circulants, and from orthogonal matrices."""
    return max(from_circulant(a), relative(a.T @ a - torch.eye(N).double(), a))


def from_circulant_diagonal(a: Tensor) -> float:
    """``A[i,j] A[i+1,j+1] / (A[i,j+1] A[i+1,j])`` of ``D1 C D2`` depends on i - j alone."""
    up, left = a.roll(-1, 0), a.roll(-1, 1)
    ratio = a * up.roll(-1, 1) / (left * up)
    # a ratio has no scale of its own: its bounded image is compared
    return from_circulant(torch.atan(ratio))


def from_monarch(a: Tensor) -> float:
    """``A[(i', i), (g, j)] = L[i, i', g] R[g, i, j]``: for every i and g a slice of rank 1."""
    slices = a.reshape(SIZE, SIZE, SIZE, SIZE).permute(1, 2, 0, 3)
    beyond = torch.linalg.svdvals(slices)[..., 1:]
    return relative(beyond, a)


def from_shuffled_permutation(a: Tensor) -> float:
    """Distance from monomials, or the share of rows of the grid that send two into one column."""
    to = a.abs().argmax(dim=0).reshape(SIZE, SIZE) % SIZE
    met = to.sort(dim=1).values != torch.arange(SIZE)
    return max(from_monomial(a), met.any(dim=1).double().mean().item())


def from_column_sparse(a: Tensor) -> float:
    """What is left of every column without its largest entry."""
    largest = a.abs().amax(dim=0, keepdim=True)
    return relative(torch.where(a.abs() == largest, 0.0, a), a)


def from_monomial(a: Tensor) -> float:
    """Distance from one entry a column, and from one a row."""
    return max(from_column_sparse(a), from_column_sparse(a.T))


def from_signed_permutation(a: Tensor) -> float:
    """Distance from monomials, and of the entries from 1."""
    return max(from_monomial(a), relative(a.abs().amax(dim=0) - 1, a))


def from_low_rank(a: Tensor) -> float:
    """Rank beyond 2 in the corner that no diagonal reaches: rows of one half, columns of the other."""
    return relative(torch.linalg.svdvals(a[: N // 2, N // 2 :])[RANK:], a)


def from_cauchy_like(a: Tensor) -> float:
    """Rank beyond 2 of the displacement ``diag(s) A - A diag(t)``."""
    return relative(torch.linalg.svdvals(displacement(a))[RANK:], displacement(a))


def displacement(a: Tensor) -> Tensor:
    """``diag(s) A - A diag(t)``."""
    return nodes(0)[:, None] * a - a * nodes(1)


def from_householder(a: Tensor) -> float:
    """Rank beyond 1 of ``I - A``."""
    return relative(torch.linalg.svdvals(torch.eye(N).double() - a)[1:], a)


def relative(rest: Tensor, whole: Tensor) -> float:
    """Size of what is left, over that of the whole."""
    return (torch.linalg.vector_norm(rest) / torch.linalg.vector_norm(whole)).item()


@dataclass(frozen=True)
class Family:
    """Members, the distance of a matrix from them, and whether products stay among them."""

    member: Callable[[], Tensor]
    distance: Callable[[Tensor], float]
    closed: bool


FAMILIES = (
    Family(circulant, from_circulant, closed=True),
    Family(cayley_circulant, from_orthogonal_circulant, closed=True),
    Family(monomial, from_monomial, closed=True),
    Family(signed_permutation, from_signed_permutation, closed=True),
    Family(column_sparse, from_column_sparse, closed=True),
    Family(shuffled_permutation, from_monomial, closed=True),
    Family(shuffled_permutation, from_shuffled_permutation, closed=False),
    Family(circulant_diagonal, from_circulant_diagonal, closed=False),
    Family(monarch, from_monarch, closed=False),
    Family(orthogonal_monarch, from_monarch, closed=False),
    Family(low_rank, from_low_rank, closed=False),
    Family(cauchy_like, from_cauchy_like, closed=False),
    Family(householder, from_householder, closed=False),
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def named(family: Family) -> str:
    return f"{family.member.__name__}-{family.distance.__name__}"


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_a_member_lies_in_its_family(family: Family) -> None:
    assert max(family.distance(family.member()) for _ in range(8)) < CLOSED


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_a_normal_matrix_lies_in_no_family(family: Family) -> None:
    assert min(family.distance(normal(N, N)) for _ in range(8)) > OPEN


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_products_stay_in_the_family_where_it_is_closed_and_leave_it_where_not(
    family: Family,
) -> None:
    farthest = max(family.distance(family.member() @ family.member()) for _ in range(8))
    assert farthest < CLOSED if family.closed else farthest > OPEN


def test_slices_of_a_product_of_two_monarch_matrices_have_full_rank() -> None:
    slices = (monarch() @ monarch()).reshape(SIZE, SIZE, SIZE, SIZE).permute(1, 2, 0, 3)
    assert (torch.linalg.matrix_rank(slices) == SIZE).all()


def test_displacement_ranks_of_cauchy_like_factors_add_when_their_inner_nodes_agree() -> None:
    # diag(s) A B - A B diag(u) = (diag(s) A - A diag(t)) B + A (diag(t) B - B diag(u))
    s, t, u = nodes(0)[:, None], nodes(1)[:, None], nodes(2)
    a, b = cauchy_like(), normal(N, RANK) @ normal(RANK, N) / (t - (u + 1 / (4 * N)))
    moved = s * (a @ b) - (a @ b) * (u + 1 / (4 * N))
    assert torch.linalg.matrix_rank(moved) == 2 * RANK


def test_ranks_beside_the_diagonal_add() -> None:
    corner = (low_rank() @ low_rank())[: N // 2, N // 2 :]
    assert torch.linalg.matrix_rank(corner) == 2 * RANK


def test_reflections_make_any_orthogonal_matrix_of_few_coordinates() -> None:
    # a swap is one reflection, a 5-cycle four: as many factors as I - A has rank
    one = torch.eye(5, dtype=torch.float64)
    for order, reflections in (((1, 0, 2, 3, 4), 1), ((1, 2, 0, 3, 4), 2), ((1, 2, 3, 4, 0), 4)):
        assert torch.linalg.matrix_rank(one - one[list(order)]) == reflections


def test_every_swap_of_five_places_of_the_grid_is_a_shuffled_permutation() -> None:
    places = [SIZE * row + column for row, column in ((0, 0), (0, 1), (0, 2), (1, 3), (2, 3))]
    for one, other in itertools.combinations(places, 2):
        order = list(range(N))
        order[one], order[other] = other, one
        # the other two corners of their rectangle change places as well, and are none of the five
        here, there = one - one % SIZE + other % SIZE, other - other % SIZE + one % SIZE
        if {here, there} != {one, other}:
            assert not {here, there} & set(places)
            order[here], order[there] = there, here
        swap = torch.eye(N, dtype=torch.float64)[order]
        assert from_shuffled_permutation(swap) == 0.0


def test_two_shuffled_permutations_make_every_permutation_of_a_small_grid() -> None:
    p, swap = shuffle(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
    blocks = [torch.block_diag(*pair) for pair in itertools.product((swap @ swap, swap), repeat=2)]
    once = [p @ left @ p.T @ right for left, right in itertools.product(blocks, repeat=2)]
    twice = [one @ other for one, other in itertools.product(once, repeat=2)]
    assert (distinct(once), distinct(twice)) == (16, math.factorial(4))


def distinct(matrices: list[Tensor]) -> int:
    """How many different matrices there are."""
    return len({tuple(each.flatten().tolist()) for each in matrices})
