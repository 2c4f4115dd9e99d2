"""Hierarchical copying: write down what was met, sorted by level, each level in the order it was met.

A sequence scatters ``kept`` symbols over blanks, every one at one of ``levels`` levels, and ends in
``kept`` markers: one for every symbol of the first level, then of the second, and so on. A marker says
the level, and is answered by the next symbol of that level. To find a level's symbols is recall; to
give them in turn is counting within a level. The score is taken with twice as many places, where a
fixed filter, which half sorts the trained length, knows no more than what was met.
"""

from typing import TYPE_CHECKING

from suites.tasks import Batch, Task, sized_task

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from torch import Tensor


def draw(
    generator: "torch.Generator",
    count: int,
    length: int,
    *,
    kept: int,
    levels: int,
    symbols: int,
) -> Batch:
    """Sequences over ``symbols`` symbols a level, a marker a level, and a blank; classes are symbols."""
    import torch

    slots = length - kept
    if slots < kept:
        raise ValueError(f"T={length} with {kept} symbols kept, want at least {2 * kept}")
    places = torch.multinomial(torch.ones(count, slots), kept, generator=generator).sort(1).values
    content = torch.randint(symbols, (count, kept), generator=generator)
    level = torch.randint(levels, (count, kept), generator=generator)
    ranked, order = level.sort(dim=1, stable=True)

    tokens = torch.full((count, length), levels * symbols + levels)
    tokens.scatter_(1, places, level * symbols + content)
    tokens[:, slots:] = levels * symbols + ranked
    labels = torch.zeros_like(tokens)
    labels[:, slots:] = content.gather(1, order)
    asked = torch.zeros_like(tokens, dtype=torch.bool)
    asked[:, slots:] = True
    return Batch(tokens=tokens, labels=labels, learned=asked, scored=asked)


def of_the_level(
    batch: Batch,
    generator: "torch.Generator",
    *,
    kept: int,
    levels: int,
    symbols: int,
) -> "Int[Tensor, 'B T']":
    """Some symbol of the level that is asked for, whatever its turn."""
    import torch

    met = batch.tokens[:, :-kept]
    wanted = batch.tokens[:, -kept:, None] - levels * symbols
    fits = (met < levels * symbols)[:, None] & (met[:, None] // symbols == wanted)
    pick = torch.multinomial(fits.flatten(0, 1).float(), 1, generator=generator)
    answers = torch.zeros_like(batch.tokens)
    answers[:, -kept:] = met.gather(1, pick.unflatten(0, (-1, kept))[..., 0]) % symbols
    return answers


def any_symbol(
    batch: Batch,
    generator: "torch.Generator",
    *,
    kept: int,
    levels: int,
    symbols: int,
) -> "Int[Tensor, 'B T']":
    """Some symbol of the sequence, whatever its level."""
    import torch

    met = (batch.tokens[:, :-kept] < levels * symbols).float()
    pick = torch.multinomial(met, batch.tokens.shape[1], replacement=True, generator=generator)
    return batch.tokens.gather(1, pick) % symbols


def setting(*, length: int, kept: int, levels: int, symbols: int, **kind: object) -> Task:
    """The task with these sizes; ``kind`` is what differs in the model, the budget, the controls."""
    # every level that has symbols gets one of them right by construction
    used = levels * (1 - (1 - 1 / levels) ** kept) / kept
    slots = length - kept
    return sized_task(
        name=f"hierarchical_copying-T{length}",
        says=f"Copy {kept} symbols sorted by {levels} levels; scored with twice as many places.",
        sizes={"kept": kept, "levels": levels, "symbols": symbols},
        draw=draw,
        strategies={"of the level": of_the_level, "any symbol": any_symbol},
        floor=used + (1 - used) / symbols,
        vocabulary=levels * symbols + levels + 1,
        classes=symbols,
        length=length,
        test_length=2 * slots + kept,
        lengths=(length, 2 * slots + kept, 4 * slots + kept),
        **kind,
    )


SETTINGS = (
    setting(
        # of 8 symbols at 3 levels the control that must pass scores 0.92 after 2000 steps, short of solved
        length=16,
        kept=4,
        levels=2,
        symbols=8,
        width=32,
        layers=2,
        parameters=2 * 20 * 32**2,
        batch=32,
        tokens=800 * 32 * 16,
        must_pass=("mixers.softmax",),
        must_fail=("mixers.oscillator",),
    ),
)
