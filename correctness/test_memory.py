"""What compressed, coupled and second-order memories keep, and where nothing bounds them."""

import torch

from impl.memory.nystrom import DAMPING, compressed
from impl.memory.second_order import SecondOrder, called_up

WIDE = torch.float64
N = 8


def normal(*shape: int) -> torch.Tensor:
    """Normal numbers of one seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=WIDE)


def test_landmarks_keep_a_state_of_their_own_rank_and_lose_one_of_full_rank() -> None:
    # the landmarks' own corner is the identity, of which the damping takes an equal share everywhere
    tall = torch.cat([torch.eye(2, dtype=WIDE), normal(N - 2, 2)])
    low, full = tall @ tall.mT, normal(N, N)
    lost = [float((compressed(state, 2) - state).norm() / state.norm()) for state in (low, full)]
    assert abs(lost[0] - DAMPING / (1 + DAMPING)) < N**2 * torch.finfo(WIDE).eps
    assert lost[1] > 0.5


def test_a_state_of_zeros_stays_one_and_lets_the_gradient_through() -> None:
    state = torch.zeros(1, N, N, dtype=WIDE, requires_grad=True)
    kept = compressed(state, 2)
    kept.sum().backward()
    assert not kept.any()
    assert state.grad is not None
    assert state.grad.isfinite().all()


def test_undivided_second_moments_erase_more_than_there_is() -> None:
    # the same unit key over and over: P k grows to 1 / (1 - gamma) = 50
    k = torch.zeros(1, 1, 200, N, dtype=WIDE)
    k[..., 0] = 1.0
    gamma = torch.tensor([0.98], dtype=WIDE)
    found, _ = called_up(k, gamma.log(), torch.zeros(1, 1, N, N, dtype=WIDE))
    erased = found[0, 0, -1]
    reflected = torch.eye(N, dtype=WIDE) - 0.5 * torch.outer(erased, erased)
    unit = erased / erased.norm()
    assert erased.norm() > 40
    assert torch.linalg.matrix_norm(reflected, 2) > 100
    assert (
        torch.linalg.matrix_norm(torch.eye(N, dtype=WIDE) - 0.5 * torch.outer(unit, unit), 2) <= 1
    )


def test_second_moment_is_as_large_as_the_memory_it_steers() -> None:
    first, second = (SecondOrder(2 * N, heads=2, metric=metric) for metric in ("none", "moment"))
    assert second.state_size(100) == 2 * first.state_size(100)
