"""Multi-query associative recall: read key-value pairs, then answer each key with its value.

A sequence lists ``pairs`` keys and values without repetition, k1 v1 k2 v2 ..., and then asks every
key once. A question stands at an even offset behind the pairs, drawn without replacement with
weight 1 / gap^0.99, so that questions crowd right behind the pairs with a long tail; all other
positions are blank (S. Arora et al., Zoology, ICLR 2024, arXiv:2312.04927).

Longer sequences ask the same number of keys across more blanks.
"""

from typing import TYPE_CHECKING

from suites.tasks import Batch, Task, sized_task

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from torch import Tensor

BLANK = 0
CROWDING = 0.01
"""Exponent of the law of gaps, p(gap) ~ gap^(CROWDING - 1)."""


def draw(
    generator: "torch.Generator", count: int, length: int, *, pairs: int, symbols: int
) -> Batch:
    """Sequences over a blank, ``symbols`` keys and ``symbols`` values; classes are the values."""
    import torch

    places = (length - 2 * pairs) // 2
    if places < pairs:
        raise ValueError(f"T={length} with {pairs} pairs, want at least {4 * pairs}")
    keys = _choose(generator, torch.ones(count, symbols), pairs)
    values = _choose(generator, torch.ones(count, symbols), pairs)
    gaps = torch.arange(1, places + 1, dtype=torch.float32) ** (CROWDING - 1)
    asked = 2 * pairs + 2 * _choose(generator, gaps.expand(count, -1), pairs)

    tokens = torch.full((count, length), BLANK)
    tokens[:, 0 : 2 * pairs : 2] = 1 + keys
    tokens[:, 1 : 2 * pairs : 2] = 1 + symbols + values
    tokens.scatter_(1, asked, 1 + keys)
    labels = torch.zeros_like(tokens).scatter_(1, asked, values)
    queries = torch.zeros_like(tokens, dtype=torch.bool).scatter_(1, asked, value=True)
    return Batch(tokens=tokens, labels=labels, learned=queries, scored=queries)


def _choose(generator: "torch.Generator", weights: "Tensor", count: int) -> "Tensor":
    """``count`` distinct columns a row, drawn in turn in proportion to ``weights``."""
    import torch

    return torch.multinomial(weights, count, replacement=False, generator=generator)


def any_value(
    batch: Batch, generator: "torch.Generator", *, pairs: int, symbols: int
) -> "Int[Tensor, 'B T']":
    """Some value of the sequence, whatever the key."""
    import torch

    pick = torch.randint(pairs, batch.tokens.shape, generator=generator)
    return batch.tokens.gather(1, 2 * pick + 1) - 1 - symbols


def last_value(
    batch: Batch, generator: "torch.Generator", *, pairs: int, symbols: int
) -> "Int[Tensor, 'B T']":
    """The value that was read last."""
    last = batch.tokens[:, 2 * pairs - 1 : 2 * pairs] - 1 - symbols
    return last.expand(batch.tokens.shape)


def setting(*, length: int, pairs: int, symbols: int, **kind: object) -> Task:
    """The task with these sizes; ``kind`` is what differs in the model, the budget, the controls."""
    return sized_task(
        says=f"Recall all of {pairs} key-value pairs; scored on sequences twice as long.",
        sizes={"pairs": pairs, "symbols": symbols},
        draw=draw,
        strategies={"any value": any_value, "last value": last_value},
        floor=1 / pairs,
        vocabulary=1 + 2 * symbols,
        classes=symbols,
        length=length,
        test_length=2 * length,
        layers=2,
        **({"batch": 32} | kind),
    )


PUBLISHED = 8192
"""Tokens of the vocabulary in arXiv:2312.04927, half of them keys and half values."""

SETTINGS = (
    setting(
        name="mqar-T32",
        length=32,
        pairs=4,
        symbols=32,
        width=32,
        parameters=2 * 10 * 32**2,
        tokens=300 * 32 * 32,
        must_pass=("mixers.softmax", "mixers.deltanet"),
        must_fail=("mixers.oscillator",),
    ),
    setting(
        # too many pairs for the width, so that what an idea adds to a memory of sums can show
        name="mqar-T48",
        length=48,
        pairs=12,
        symbols=48,
        width=16,
        parameters=2 * 10 * 16**2,
        tokens=1000 * 32 * 48,
        must_pass=("mixers.softmax",),
        must_fail=("mixers.oscillator",),
    ),
    setting(
        # a second such setting: what holds in one of them only is a matter of the setting
        name="mqar-T64",
        length=64,
        pairs=16,
        symbols=64,
        width=16,
        parameters=2 * 10 * 16**2,
        tokens=1000 * 32 * 64,
        must_pass=("mixers.softmax",),
        must_fail=("mixers.oscillator",),
    ),
    setting(
        # at the size of arXiv:2312.04927, figure 2, on a GPU
        name="mqar-T256",
        length=256,
        pairs=16,
        symbols=PUBLISHED // 2,
        width=128,
        parameters=2 * 10 * 128**2,
        batch=256,
        tokens=10_000 * 256 * 256,
        rates=(1e-4, 4.6e-4, 2.2e-3, 1e-2),
        must_pass=("mixers.softmax", "mixers.deltanet"),
        must_fail=("mixers.oscillator",),
    ),
)
