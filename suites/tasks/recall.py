"""Associative recall: read key-value pairs, then answer one key with its value.

A sequence lists ``pairs`` keys and values without repetition, k1 v1 k2 v2 ..., stays blank, and ends
in one of the keys, whose value is the answer (S. Arora et al., Zoology, ICLR 2024, arXiv:2312.04927,
with one question instead of one for every key). Longer sequences keep the pairs and stay blank for
longer, so that what was read has to last and not only to be found.
"""

from typing import TYPE_CHECKING

from suites.tasks import Batch, Task, sized_task
from suites.tasks.mqar import any_value

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from torch import Tensor

BLANK = 0


def draw(
    generator: "torch.Generator", count: int, length: int, *, pairs: int, symbols: int
) -> Batch:
    """Sequences over a blank, ``symbols`` keys and ``symbols`` values; classes are the values."""
    import torch

    if length <= 2 * pairs:
        raise ValueError(f"T={length} with {pairs} pairs, want at least {2 * pairs + 1}")
    # the first few of a shuffled alphabet
    keys, values = torch.rand(2, count, symbols, generator=generator).argsort(-1)[..., :pairs]
    asked = torch.randint(pairs, (count, 1), generator=generator)

    tokens = torch.full((count, length), BLANK)
    tokens[:, 0 : 2 * pairs : 2] = 1 + keys
    tokens[:, 1 : 2 * pairs : 2] = 1 + symbols + values
    tokens[:, -1:] = 1 + keys.gather(1, asked)
    labels = torch.zeros_like(tokens)
    labels[:, -1:] = values.gather(1, asked)
    query = torch.zeros_like(tokens, dtype=torch.bool)
    query[:, -1] = True
    return Batch(tokens=tokens, labels=labels, learned=query, scored=query)


def first_value(
    batch: Batch, generator: "torch.Generator", *, pairs: int, symbols: int
) -> "Int[Tensor, 'B T']":
    """The value that was read first."""
    return (batch.tokens[:, 1:2] - 1 - symbols).expand(batch.tokens.shape)


def setting(*, length: int, pairs: int, symbols: int, **kind: object) -> Task:
    """The task with these sizes; ``kind`` is what differs in the model, the budget, the controls."""
    return sized_task(
        name=f"recall-pairs{pairs}-T{length}",
        says=f"Recall one of {pairs} key-value pairs; scored on sequences twice as long.",
        sizes={"pairs": pairs, "symbols": symbols},
        draw=draw,
        strategies={"any value": any_value, "first value": first_value},
        floor=1 / pairs,
        vocabulary=1 + 2 * symbols,
        classes=symbols,
        length=length,
        test_length=2 * length,
        lengths=(length, 2 * length, 4 * length),
        **kind,
    )


SETTINGS = (
    setting(
        length=18,
        pairs=8,
        symbols=16,
        width=32,
        layers=2,
        parameters=2 * 10 * 32**2,
        batch=64,
        tokens=300 * 64 * 18,
        must_pass=("mixers.softmax",),
        must_fail=("mixers.oscillator",),
    ),
)
