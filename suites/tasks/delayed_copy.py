"""Delayed copy: read a few symbols, wait, then write them down in order.

A sequence is ``kept`` symbols, blanks, and ``kept`` markers, each answered by the next symbol. Every
trained sequence waits equally long, so a fixed delay line is enough for it; the score is taken where
the wait is longer, which only what stores content by its place among the symbols survives. The sizes
put a border between chunks of 32 tokens inside the trained answer, and one of 64 inside the scored
one: a chunked form that loses the state or the count there answers the rest wrong.

Of the trained length there are symbols^kept sequences and no more, so that fewer than one in a hundred
scored there was trained on; those that are longer were never seen.
"""

from typing import TYPE_CHECKING

from suites.tasks import Batch, Task, sized_task

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from torch import Tensor


def draw(
    generator: "torch.Generator", count: int, length: int, *, kept: int, symbols: int
) -> Batch:
    """Sequences over ``symbols`` symbols, a blank and a marker; classes are the symbols."""
    import torch

    if length < 2 * kept:
        raise ValueError(f"T={length} with {kept} symbols kept, want at least {2 * kept}")
    blank, marker = symbols, symbols + 1
    content = torch.randint(symbols, (count, kept), generator=generator)
    tokens = torch.full((count, length), blank)
    tokens[:, :kept] = content
    tokens[:, -kept:] = marker
    labels = torch.zeros_like(tokens)
    labels[:, -kept:] = content
    asked = tokens == marker
    return Batch(tokens=tokens, labels=labels, learned=asked, scored=asked)


def any_symbol(
    batch: Batch, generator: "torch.Generator", *, kept: int, symbols: int
) -> "Int[Tensor, 'B T']":
    """Some symbol of the sequence, whatever its turn."""
    import torch

    pick = torch.randint(kept, batch.tokens.shape, generator=generator)
    return batch.tokens.gather(1, pick)


def first_symbol(
    batch: Batch, generator: "torch.Generator", *, kept: int, symbols: int
) -> "Int[Tensor, 'B T']":
    """The symbol that was read first."""
    return batch.tokens[:, :1].expand(batch.tokens.shape)


def setting(*, length: int, kept: int, symbols: int, **kind: object) -> Task:
    """The task with these sizes; ``kind`` is what differs in the model, the budget, the controls."""
    return sized_task(
        name=f"delayed_copy-T{length}",
        says=f"Copy {kept} symbols after a wait; scored on sequences twice as long.",
        sizes={"kept": kept, "symbols": symbols},
        draw=draw,
        strategies={"any symbol": any_symbol, "first symbol": first_symbol},
        # one turn of ``kept`` is right by construction, the others by accident
        floor=1 / kept + (1 - 1 / kept) / symbols,
        vocabulary=symbols + 2,
        classes=symbols,
        length=length,
        test_length=2 * length,
        lengths=(length, 2 * length, 4 * length),
        **kind,
    )


SETTINGS = (
    setting(
        length=33,
        kept=4,
        symbols=64,
        width=32,
        layers=2,
        parameters=2 * 10 * 32**2,
        batch=32,
        # of 450 steps the control that must pass needs more on two seeds of five
        tokens=700 * 32 * 33,
        must_pass=("mixers.gated_deltanet",),
        must_fail=("mixers.oscillator",),
    ),
)
