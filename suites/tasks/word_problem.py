"""Word problem of S_5: follow the product of permutations of five things.

A sequence is a start token and a word over the identity and the ten swaps of two of five things;
the label at every position is the product so far, one of 120 permutations. Trained on words of 16,
scored on the last position of words of 64: a model that counts well enough for the trained length
instead of tracking the product falls to chance there (R. Grazzi et al., ICLR 2025, arXiv:2411.12537).

A swap is one reflection, so one Householder step a token is enough if its eigenvalue may be -1;
transitions that commute (diagonal ones) or never leave [0, 1] cannot do it at any width.
"""

import functools
import itertools
from typing import TYPE_CHECKING

from suites.tasks import Batch, Task

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from torch import Tensor

PERMUTATIONS = tuple(itertools.permutations(range(5)))
"""``p[i]`` is where thing ``i`` goes; the first one moves nothing."""
GENERATORS = tuple(
    number
    for number, p in enumerate(PERMUTATIONS)
    if sum(place != thing for thing, place in enumerate(p)) in (0, 2)
)
"""Numbers of the identity and of the ten swaps."""
START = len(GENERATORS)


@functools.cache
def products() -> tuple[tuple[int, ...], ...]:
    """``products()[p][g]``: the permutation number of ``p`` followed by generator ``g``."""
    number = {p: i for i, p in enumerate(PERMUTATIONS)}
    moves = [PERMUTATIONS[g] for g in GENERATORS]
    return tuple(
        tuple(number[tuple(move[place] for place in p)] for move in moves) for p in PERMUTATIONS
    )


def draw(generator: "torch.Generator", count: int, length: int) -> Batch:
    """A start token and ``length - 1`` generators; classes are the 120 permutations."""
    import torch

    table = torch.tensor(products())
    word = torch.randint(len(GENERATORS), (count, length - 1), generator=generator)
    tokens = torch.cat([torch.full((count, 1), START), word], dim=1)
    labels = torch.zeros_like(tokens)
    for t in range(1, length):
        labels[:, t] = table[labels[:, t - 1], tokens[:, t]]
    learned = torch.ones_like(tokens, dtype=torch.bool)
    learned[:, 0] = False
    scored = torch.zeros_like(learned)
    scored[:, -1] = True
    return Batch(tokens=tokens, labels=labels, learned=learned, scored=scored)


def parity(batch: Batch, generator: "torch.Generator") -> "Int[Tensor, 'B T']":
    """Some permutation of the right parity, which a counter of swaps knows."""
    import torch

    odd = torch.tensor([_inversions(p) % 2 for p in PERMUTATIONS], dtype=torch.bool)
    by_parity = torch.stack([(~odd).nonzero()[:, 0], odd.nonzero()[:, 0]])
    pick = torch.randint(by_parity.shape[1], batch.labels.shape, generator=generator)
    return by_parity[odd[batch.labels].long(), pick]


def constant(batch: Batch, generator: "torch.Generator") -> "Int[Tensor, 'B T']":
    """Always the identity."""
    import torch

    return torch.zeros_like(batch.labels)


def _inversions(p: tuple[int, ...]) -> int:
    return sum(a > b for a, b in itertools.combinations(p, 2))


SETTINGS = (
    Task(
        name="word_problem-T16",
        says="Track a product of swaps of five things; scored at the end of words 4 times as long.",
        draw=draw,
        strategies={"parity": parity, "constant": constant},
        floor=2 / len(PERMUTATIONS),
        vocabulary=START + 1,
        classes=len(PERMUTATIONS),
        length=1 + 16,
        test_length=1 + 64,
        width=32,
        layers=1,
        parameters=10 * 32**2,
        batch=64,
        tokens=800 * 64 * 17,
        must_pass=("mixers.deltanet(beta=2)",),
        must_fail=("mixers.deltanet", "mixers.diagonal"),
    ),
)
