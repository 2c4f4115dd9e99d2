"""Whether transitions that are chosen are the same in training, dense, and without a gradient, composed."""

import itertools

import pytest
import torch

from correctness.mixer_laws import Subject
from impl.common.assignment import assignment, sign
from impl.registry import load

CHOSEN = ("column_sparse", "monomial", "signed_permutation")


@pytest.mark.parametrize("name", CHOSEN)
def test_the_form_with_a_gradient_equals_the_composed_one(name: str) -> None:
    factory = load(f"transitions.{name}").run
    assert factory is not None
    subject = Subject(name, factory)
    mixer, x = subject.make(), subject.inputs(67)
    with torch.no_grad():
        composed = mixer(x)
    dense = mixer(x).detach()
    error = (dense - composed).square().mean().sqrt() / dense.square().mean().sqrt()
    assert error <= subject.bound(x)


def test_the_assignment_is_the_best_of_all_permutations() -> None:
    x = torch.randn(50, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chosen = assignment(x)
    assert (chosen.sum(dim=-1) == 1).all()
    assert (chosen.sum(dim=-2) == 1).all()
    best = [max(_total(each, order) for order in itertools.permutations(range(4))) for each in x]
    found = (chosen * x).sum(dim=(-1, -2))
    assert found.tolist() == pytest.approx(best)


def _total(scores: torch.Tensor, order: tuple[int, ...]) -> float:
    return sum(scores[row, column].item() for column, row in enumerate(order))


def test_its_gradient_is_that_of_a_doubly_stochastic_mean() -> None:
    x = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x.requires_grad_()
    # all rows and columns sum to 1 whatever x is: their sums have no gradient
    for dim in (-1, -2):
        (found,) = torch.autograd.grad((assignment(x).sum(dim=dim) * torch.arange(3)).sum(), x)
        assert found.abs().amax() < 1e-12
    (found,) = torch.autograd.grad(assignment(x)[0, 0, 0], x)
    assert found[0, 0, 0] > 0


def test_more_places_than_can_be_scored_are_refused() -> None:
    with pytest.raises(ValueError, match="n=7 places to permute, want at most 6"):
        assignment(torch.zeros(7, 7))


def test_a_sign_is_never_zero() -> None:
    assert sign(torch.tensor([-2.0, -0.0, 0.0, 3.0])).tolist() == [-1.0, 1.0, 1.0, 1.0]
