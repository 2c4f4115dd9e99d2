"""Selective copying: write down, in order, the symbols met at random places among blanks.

A sequence scatters ``kept`` symbols over blanks and ends in ``kept`` markers, each answered by the
next symbol (A. Gu and T. Dao, 2023, arXiv:2312.00752). Where a symbol stands changes from sequence
to sequence, so a fixed filter cannot know which delay to undo; within the trained length it can
still learn most of the answer, so the score is taken at twice the length.
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

    slots = length - kept
    if slots < kept:
        raise ValueError(f"T={length} with {kept} symbols kept, want at least {2 * kept}")
    blank, marker = symbols, symbols + 1
    places = torch.multinomial(torch.ones(count, slots), kept, generator=generator).sort(1).values
    content = torch.randint(symbols, (count, kept), generator=generator)

    tokens = torch.full((count, length), blank)
    tokens.scatter_(1, places, content)
    tokens[:, slots:] = marker
    labels = torch.zeros_like(tokens)
    labels[:, slots:] = content
    asked = tokens == marker
    return Batch(tokens=tokens, labels=labels, learned=asked, scored=asked)


def any_symbol(
    batch: Batch, generator: "torch.Generator", *, kept: int, symbols: int
) -> "Int[Tensor, 'B T']":
    """Some symbol of the sequence, whatever its turn."""
    import torch

    slots = batch.tokens.shape[1] - kept
    met = (batch.tokens[:, :slots] < symbols).float()
    pick = torch.multinomial(met, batch.tokens.shape[1], replacement=True, generator=generator)
    return batch.tokens.gather(1, pick)


def last_symbol(
    batch: Batch, generator: "torch.Generator", *, kept: int, symbols: int
) -> "Int[Tensor, 'B T']":
    """The symbol that was read last."""
    import torch

    slots = batch.tokens.shape[1] - kept
    met = batch.tokens[:, :slots] < symbols
    place = (met * torch.arange(slots)).amax(1, keepdim=True)
    return batch.tokens.gather(1, place).expand(batch.tokens.shape)


def setting(*, length: int, kept: int, symbols: int, **kind: object) -> Task:
    """The task with these sizes; ``kind`` is what differs in the model, the budget, the controls."""
    slots = length - kept
    return sized_task(
        says=f"Copy {kept} symbols met among blanks; scored with twice as many places.",
        sizes={"kept": kept, "symbols": symbols},
        draw=draw,
        strategies={"any symbol": any_symbol, "last symbol": last_symbol},
        # one turn of ``kept`` is right by construction, the others by accident
        floor=1 / kept + (1 - 1 / kept) / symbols,
        vocabulary=symbols + 2,
        classes=symbols,
        length=length,
        test_length=2 * slots + kept,
        **kind,
    )


SETTINGS = (
    setting(
        name="selective_copying-T24",
        length=24,
        kept=4,
        symbols=16,
        width=32,
        layers=2,
        parameters=2 * 10 * 32**2,
        batch=32,
        tokens=800 * 32 * 24,
        must_pass=("mixers.gated_deltanet",),
        must_fail=("mixers.oscillator",),
    ),
    setting(
        # followed by the plain gradient, so that a rate is too large where the gradient is
        name="selective_copying-T24-sgd",
        length=24,
        kept=4,
        symbols=16,
        width=32,
        layers=2,
        parameters=2 * 10 * 32**2,
        batch=32,
        tokens=1600 * 32 * 24,
        optimizer="sgd",
        rates=(3e-2, 1e-1, 3e-1, 1.0),
        must_pass=("mixers.gated_deltanet",),
        must_fail=("mixers.oscillator",),
    ),
    setting(
        # at the size of the Mechanistic Architecture Design benchmark, arXiv:2403.17844, on a GPU; of
        # its 16 tokens two are the blank and the marker
        name="selective_copying-T256",
        length=256,
        kept=16,
        symbols=16,
        width=128,
        layers=2,
        parameters=2 * 10 * 128**2,
        batch=128,
        tokens=20_000 * 128 * 256,
        rates=(1e-4, 5e-4, 1e-3),
        must_pass=("mixers.gated_deltanet",),
        must_fail=("mixers.oscillator",),
    ),
)
