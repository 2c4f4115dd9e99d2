"""Whether a head's choice of tokens looks ahead, and what of it the causal form keeps."""

import torch
from torch import Tensor

from impl.transitions.expert_choice import TAKEN, WINDOW, taken


def chosen_of_all(scores: Tensor, k: int) -> Tensor:
    """Expert choice as published: 1 at the ``k`` highest scores of the whole sequence."""
    return torch.zeros_like(scores).scatter(-1, scores.topk(k).indices, 1.0)


def causal_choice(scores: Tensor) -> Tensor:
    """The choice of one head that has seen nothing yet."""
    before = torch.full((1, WINDOW - 1, 1), -torch.inf, dtype=scores.dtype)
    return taken(scores[None, :, None], before)[0, :, 0]


def drawn(length: int) -> Tensor:
    """Scores in float64, none within the margin of another."""
    order = torch.randperm(length, generator=torch.Generator().manual_seed(0))
    return order.double()


def test_the_published_choice_of_an_early_token_changes_with_later_ones() -> None:
    scores = drawn(16)
    later = scores.clone()
    later[8:] += 100
    before, after = chosen_of_all(scores, 4)[:8], chosen_of_all(later, 4)[:8]
    assert before.any()
    assert not after.any()


def test_the_causal_choice_of_an_early_token_does_not() -> None:
    scores = drawn(16)
    later = scores.clone()
    later[8:] += 100
    assert torch.equal(causal_choice(scores)[:8], causal_choice(later)[:8])


def test_a_token_is_taken_when_it_is_among_the_best_of_its_window() -> None:
    scores = drawn(64)
    wanted = [
        sorted(scores[max(0, t - WINDOW + 1) : t + 1].tolist(), reverse=True).index(
            scores[t].item()
        )
        < TAKEN
        for t in range(64)
    ]
    assert causal_choice(scores).bool().tolist() == wanted


def test_about_as_large_a_share_of_tokens_is_taken_as_of_the_window() -> None:
    share = causal_choice(drawn(4096)).mean().item()
    # three standard errors, were the choices independent of one another
    assert abs(share - TAKEN / WINDOW) < 3 * (0.25 / 4096) ** 0.5


def test_equal_scores_are_all_taken_whatever_rounding_does_to_them() -> None:
    scores = torch.ones(32, dtype=torch.float64) + 1e-7 * torch.randn(32, dtype=torch.float64)
    assert causal_choice(scores).all()
