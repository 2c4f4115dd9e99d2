"""Periodic signal: a square wave falls silent; say how it would go on.

A sequence shows ``HEARD`` steps of a wave that is high for half of its period and low for the other,
the period one of ``PERIODS`` and the phase any, both new in each sequence; then come blanks, and at
each of them the level that the wave would have is wanted. Each level is spelled by any of ``LETTERS``
letters, so that hardly a sequence is met twice. The silence that is scored is half as long again as
the trained one. A state that turns keeps the phase, with a few modes for every period; in silence a
state of positive decays runs through no more than a sum of exponentials, which changes its sign a
few times and then never again.
"""

import math
from typing import TYPE_CHECKING

from suites.tasks import Batch, Task

if TYPE_CHECKING:
    import torch
    from jaxtyping import Int
    from torch import Tensor

HEARD = 16
"""Steps before the silence: two of the longest period."""
PERIODS = (4, 6, 8)
"""Steps, all even: a wave is high as long as low."""
LETTERS = 16
"""Tokens that mean low, and as many that mean high."""
BLANK = 2 * LETTERS


def draw(generator: "torch.Generator", count: int, length: int) -> Batch:
    """Waves of letters of low and of high, then blanks; classes are low and high."""
    import torch

    if length <= HEARD:
        raise ValueError(f"T={length}, want more than the {HEARD} steps that are shown")
    kind = torch.randint(len(PERIODS), (count, 1), generator=generator)
    period = torch.tensor(PERIODS)[kind]
    # as many phases as all periods divide: each phase of each period equally often
    phase = torch.randint(math.lcm(*PERIODS), (count, 1), generator=generator)
    level = ((torch.arange(length) + phase) % period < period // 2).long()
    silent = (torch.arange(length) >= HEARD).expand(count, length)
    letter = torch.randint(LETTERS, (count, length), generator=generator)
    tokens = (level * LETTERS + letter).masked_fill(silent, BLANK)
    labels = level.masked_fill(~silent, 0)
    return Batch(tokens=tokens, labels=labels, learned=silent, scored=silent)


def last_level(batch: Batch, generator: "torch.Generator") -> "Int[Tensor, 'B T']":
    """The level that was shown last."""
    return batch.tokens[:, HEARD - 1, None].expand(batch.tokens.shape) // LETTERS


def any_level(batch: Batch, generator: "torch.Generator") -> "Int[Tensor, 'B T']":
    """High or low, a coin a step."""
    import torch

    return torch.randint(2, batch.tokens.shape, generator=generator)


SETTINGS = (
    Task(
        name="periodic_signal-T80",
        says="Continue square waves of three periods in silence; scored in half as long again.",
        draw=draw,
        strategies={"last level": last_level, "any level": any_level},
        floor=0.5,
        vocabulary=2 * LETTERS + 1,
        classes=2,
        length=80,
        test_length=112,
        lengths=(80, 112, 144),
        width=32,
        layers=1,
        parameters=10 * 32**2,
        batch=32,
        tokens=200 * 32 * 80,
        must_pass=("mixers.oscillator",),
        must_fail=("mixers.diagonal",),
    ),
)
