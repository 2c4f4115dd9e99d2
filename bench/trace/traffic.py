"""Traffic: what a call moves and computes, counted on CPU tensors; modelled, never timed.

    traffic = sum over launches of distinct bytes read + distinct bytes written

A launch is a Triton kernel, run by the interpreter, or an eager torch op. The model is a cache that
is perfect inside a launch and empty between two. What an op or a kernel holds in registers or
shared memory costs nothing.
"""

import contextlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .eager_meter import EagerMeter
from .kernel_meter import KernelMeter
from .launch import Launch
from .races import RaceFinder


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Everything one call launched, in order."""

    steps: tuple[Launch, ...]
    peak_bytes: int
    """Most bytes allocated by the call and alive at once, results included, inputs not."""
    races: tuple[str, ...] = ()
    """Bytes shared by programs of one launch, where they were looked for."""
    result: Any = None
    """What the call returned."""

    @property
    def traffic(self) -> int:
        """Bytes, distinct within each launch."""
        return sum(step.traffic for step in self.steps)

    @property
    def requested(self) -> int:
        """Bytes that loads and stores asked for, repetitions included."""
        return sum(step.requested for step in self.steps)

    @property
    def launches(self) -> int:
        """Kernels and eager ops; views and uninitialised allocations are none."""
        return len(self.steps)

    @property
    def flops(self) -> int:
        """Multiplications and additions of matrix products."""
        return sum(step.flops for step in self.steps)

    @property
    def gemms(self) -> int:
        """Matrix products, each of a batch counted; a product with a vector is none."""
        return sum(step.gemms for step in self.steps)


def trace(call: Callable[[], Any], *, races: bool = False) -> Trace:
    """Runs ``call`` once, on CPU tensors, and counts what it does.

    An access outside a kernel's tensors raises ``OutOfBounds``. ``races`` looks for bytes that two
    programs of one launch share, at a few times the cost.
    """
    steps: list[Launch] = []
    kernels, finder = KernelMeter(steps.append), RaceFinder()
    eager = EagerMeter(steps.append, paused=lambda: kernels.running)
    observers = (kernels, finder) if races else (kernels,)
    with _interpreting(*observers), eager.counting():
        result = call()
    return Trace(
        steps=tuple(steps),
        peak_bytes=eager.peak,
        races=tuple(finder.found.values()),
        result=result,
    )


def _interpreting(*observers: Any) -> contextlib.AbstractContextManager[None]:
    if importlib.util.find_spec("triton") is None:
        return contextlib.nullcontext()
    from correctness.interpreter import interpret

    return interpret(*observers)
