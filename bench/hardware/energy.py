"""Joules of a call on a GPU, by the card's own counter of all energy it has used.

    joules of one call = (counter after - counter before) / calls

The counter is the whole card's, idle power included, and moves in steps of tens of milliseconds, so
the call is repeated for seconds; one long repetition is one sample.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from . import nvml

SECONDS = 2.0
"""A hundred steps of a counter that moves every 20 ms: 1% of resolution."""
BATCH_S = 0.2
"""Seconds of calls between two looks at the clock, so that the host does not hold the card up."""


@dataclass(frozen=True, kw_only=True)
class Energy:
    """What one repetition used."""

    joules: float
    """Of one call."""
    watts: float
    """Mean power of the card while it ran."""
    calls: int


def joules(call: Callable[[], object], *, device: str = "cuda") -> Energy:
    """Energy of one ``call`` on ``device``. RuntimeError when the card has no energy counter."""
    import torch

    gpu, reason = nvml.gpu_of_torch(torch.cuda.get_device_properties(torch.device(device)))
    if gpu is None:
        raise RuntimeError(f"no energy counter: {reason}")
    return repeated(call, lambda: gpu.energy_j, lambda: torch.cuda.synchronize(device))


def repeated(
    call: Callable[[], object], counter: Callable[[], float | None], wait: Callable[[], object]
) -> Energy:
    """Energy of one ``call``, repeated for ``SECONDS``; ``wait`` returns when all calls have run."""
    call()
    wait()
    began = time.perf_counter()
    call()
    wait()
    batch = max(1, round(BATCH_S / max(time.perf_counter() - began, 1e-6)))
    before, began, calls = _joules(counter), time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        for _ in range(batch):
            call()
        wait()
        calls += batch
    used, elapsed = _joules(counter) - before, time.perf_counter() - began
    if used <= 0:
        raise RuntimeError(f"the energy counter moved by {used} J in {elapsed:.1f} s")
    return Energy(joules=used / calls, watts=used / elapsed, calls=calls)


def _joules(counter: Callable[[], float | None]) -> float:
    value = counter()
    if value is None:
        raise RuntimeError("the driver gives no energy counter for this card")
    return value
