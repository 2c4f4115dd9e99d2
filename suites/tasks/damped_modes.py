"""Damped modes: hear the start of a sum of decaying waves and go on alone.

A sequence is x[t] = sum over modes m of a[m] exp(-d[m] t) cos(w[m] t + p[m]), its frequencies w and
decays d the same in every sequence, its amplitudes a and phases p new. ``HEARD`` samples are told,
then zeros beside a flag, and each step's sample is wanted. Told without noise they settle all that
follows: the exact continuation is linear in them, a recurrence of two steps back for each mode. The
score is the squared error over that of predicting zero, where the wave goes on for half as long again
as in training. States that turn continue it by themselves; those that only decay have no wave to give. The
model has no norms, which would take the amplitude away.
"""

from typing import TYPE_CHECKING

from suites.tasks import Batch, Task

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

HEARD = 32
"""Samples that are told."""
FREQUENCIES = (0.4, 0.9, 1.4, 1.9)
"""Radians a step."""
DECAYS = (0.003, 0.007, 0.011, 0.015)
"""Shares of the amplitude lost a step, nearly."""


def modes(length: int) -> "Float[Tensor, 'parts T']":
    """Cosine and sine of every mode, decaying."""
    import torch

    t = torch.arange(length)
    turn = torch.tensor(FREQUENCIES)[:, None] * t
    size = torch.exp(-torch.tensor(DECAYS)[:, None] * t)
    return torch.cat([size * turn.cos(), size * turn.sin()])


def draw(generator: "torch.Generator", count: int, length: int) -> Batch:
    """Sums of all modes with normal amplitudes; channels are the sample, while told, and the flag."""
    import torch

    if length <= HEARD:
        raise ValueError(f"T={length}, want more than the {HEARD} samples that are told")
    parts = torch.randn(count, 2 * len(FREQUENCIES), generator=generator)
    wave = parts @ modes(length) / len(FREQUENCIES) ** 0.5
    alone = (torch.arange(length) >= HEARD).expand(count, length)
    told = torch.stack([wave.masked_fill(alone, 0.0), alone.float()], dim=-1)
    wanted = wave.masked_fill(~alone, 0.0)
    return Batch(tokens=told, labels=wanted, learned=alone, scored=alone)


def zero(batch: Batch, generator: "torch.Generator") -> "Float[Tensor, 'B T']":
    """No wave."""
    import torch

    return torch.zeros_like(batch.labels)


def last_sample(batch: Batch, generator: "torch.Generator") -> "Float[Tensor, 'B T']":
    """The last sample that was told."""
    return batch.tokens[:, HEARD - 1, :1].expand(batch.labels.shape)


SETTINGS = (
    Task(
        name="damped_modes-T96",
        says="Continue a sum of four decaying waves; error over zero's, half as far again.",
        draw=draw,
        strategies={"zero": zero, "last sample": last_sample},
        floor=1.0,
        metric="nmse",
        best=0.0,
        vocabulary=2,
        classes=1,
        length=96,
        test_length=128,
        lengths=(96, 128, 160),
        width=32,
        layers=1,
        parameters=10 * 32**2,
        batch=32,
        tokens=400 * 32 * 96,
        must_pass=("mixers.oscillator",),
        must_fail=("mixers.diagonal",),
    ),
    Task(
        # four times the trained length, as the oscillators of the catalogue were to go on
        name="damped_modes-T128",
        says="Continue a sum of four decaying waves; error over zero's, four times as far.",
        draw=draw,
        strategies={"zero": zero, "last sample": last_sample},
        floor=1.0,
        metric="nmse",
        best=0.0,
        vocabulary=2,
        classes=1,
        length=128,
        test_length=512,
        lengths=(128, 256, 512),
        width=32,
        layers=1,
        parameters=10 * 32**2,
        batch=32,
        tokens=800 * 32 * 128,
        must_pass=("mixers.oscillator",),
        must_fail=("mixers.diagonal",),
    ),
)
