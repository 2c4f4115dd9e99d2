"""Recall the first: a symbol, then noise, then the symbol is asked for."""

from typing import TYPE_CHECKING

from suites.tasks import Batch, Task

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from torch import Tensor

SYMBOLS = 4


def draw(generator: "torch.Generator", count: int, length: int) -> Batch:
    """A symbol to remember and ``length - 1`` of another alphabet; the last position is asked."""
    import torch

    tokens = torch.randint(SYMBOLS, (count, length), generator=generator)
    tokens[:, 1:] += SYMBOLS
    labels = torch.zeros_like(tokens)
    labels[:, -1] = tokens[:, 0]
    asked = torch.zeros_like(tokens, dtype=torch.bool)
    asked[:, -1] = True
    return Batch(tokens=tokens, labels=labels, learned=asked, scored=asked)


def constant(batch: Batch, generator: "torch.Generator") -> "Int[Tensor, 'B T']":
    """Always the same symbol."""
    import torch

    return torch.zeros_like(batch.labels)


SETTINGS = (
    Task(
        name="recall_first-T8",
        says="Remember the first symbol over seven others.",
        draw=draw,
        strategies={"constant": constant},
        floor=1 / SYMBOLS,
        vocabulary=2 * SYMBOLS,
        classes=SYMBOLS,
        length=8,
        test_length=8,
        width=16,
        layers=1,
        parameters=8 * 16**2,
        batch=32,
        tokens=150 * 32 * 8,
        must_pass=(),
        must_fail=(),
    ),
)
