"""Seconds of calls, taken in interleaved rounds, each sample checked against outside disturbance.

Every round takes one sample of every call, in an order that is rotated and reversed from round to
round, so that a drifting clock and a neighbour's cache fall on all calls alike and sample i of one
call may be paired with sample i of another. A sample is

    seconds of one call = elapsed / number

CPU: ``number`` calls back to back, enough for ``SAMPLE_S``, read from ``perf_counter_ns`` with the
garbage collector off. CUDA: ``number`` calls, each between two events and after a flush of the L2
cache, summed.

A sample is disturbed when the machine says so, never because its figure is unwelcome: on Linux a
thread of this process was ready but waited for a CPU for more than ``WAITED`` of the sample (the
scheduler's own account, ``/proc/self/task/*/schedstat``); on CUDA the SM clock fell below
``CLOCK`` of its maximum or the driver reported a slowdown. A disturbed sample is dropped, counted
and taken again at once, ``RETRIES`` times; if none is clean the round is void for every call, and at
most twice ``rounds`` are begun. A machine that is always busy thus yields no sample and no interval.
Time that a hypervisor steals is not visible here.
"""

import contextlib
import gc
import itertools
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..hardware import nvml
from .noise import median, median_interval

SAMPLE_S = 20e-3
"""Seconds a CPU sample lasts at least: 2e5 ticks of a 100 ns clock, and many scheduler slices."""
CUDA_SAMPLE_S = 1e-3
"""Seconds of event time a CUDA sample lasts at least: 2000 times the events' 0.5 us resolution."""
CUDA_CALLS = 50
"""Most calls of one CUDA sample, because each pays a flush that is not counted."""
WAITED = 0.05
CLOCK = 0.75
RETRIES = 3

Call = Callable[[], object]
Name = TypeVar("Name")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The samples of one call, in seconds, and the 99% interval of their median."""

    samples: tuple[float, ...]
    dropped: int
    """Samples of this call dropped because the machine reported a disturbance."""
    why: str
    """The disturbance that dropped the latest of them."""
    number: int
    """Calls averaged into a sample."""
    low: float
    high: float
    watch: str
    """What disturbance was looked for, or why none could be."""

    @property
    def value(self) -> float:
        """The median of the samples."""
        return median(self.samples)


class Stopwatch(Protocol):
    """One device's way to take a sample."""

    watch: str

    def seconds(self, call: Call, number: int) -> float:
        """Elapsed seconds of ``number`` calls."""
        ...

    def number(self, call: Call) -> int:
        """Calls that make up one sample."""
        ...

    def disturbance(self) -> str | None:
        """What disturbed the latest sample, or None."""
        ...


def rounds(
    calls: Mapping[str, Call],
    *,
    device: str,
    rounds: int = 15,
    seconds: float | None = None,
    limit_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Mapping[str, Timing]:
    """Time ``calls`` against each other: the k-th sample of each was taken in the same round.

    No round begins after ``seconds``, whatever the count; the intervals widen accordingly. A call
    slower than ``limit_s`` raises TimeoutError naming it; the limit is a signal, so it works in the
    main thread only and cannot interrupt a kernel that never returns. ``progress(done, rounds)`` is
    called after every round.
    """
    if not calls:
        return {}
    began = time.monotonic()
    race = _Race(stopwatch(device), calls, limit_s)
    kept: list[dict[str, float]] = []
    with _without_collector():
        for attempt in range(2 * rounds):
            late = seconds is not None and attempt > 0 and time.monotonic() - began > seconds
            if late or len(kept) == rounds:
                break
            samples = race.round(attempt)
            if samples is None:
                continue
            kept.append(samples)
            if progress is not None:
                progress(len(kept), rounds)
    return {name: race.timing(name, [each[name] for each in kept]) for name in calls}


def order(names: Sequence[Name], attempt: int) -> list[Name]:
    """``names`` rotated by ``attempt``, backwards every other turn: AB BA BA AB, ABC BCA CAB CBA."""
    turns, shift = divmod(attempt, len(names))
    rotated = [*names[shift:], *names[:shift]]
    return rotated[::-1] if turns % 2 else rotated


class _Race:
    """The calls that are timed against each other, and the samples that each has lost."""

    def __init__(self, watch: Stopwatch, calls: Mapping[str, Call], limit_s: float | None) -> None:
        self._watch = watch
        self._calls = calls
        self._limit_s = limit_s
        self._dropped: dict[str, list[str]] = {name: [] for name in calls}
        self._numbers = {name: self._calibrated(name) for name in calls}

    def round(self, attempt: int) -> dict[str, float] | None:
        """Seconds by call, or None when one of them could not be taken undisturbed."""
        gc.collect()
        samples: dict[str, float] = {}
        for name in order(list(self._calls), attempt):
            sample = self._sample(name)
            if sample is None:
                return None
            samples[name] = sample
        return samples

    def timing(self, name: str, samples: Sequence[float]) -> Timing:
        """The result of one call from its kept ``samples``."""
        low, high = median_interval(samples)
        dropped = self._dropped[name]
        return Timing(
            samples=tuple(samples),
            dropped=len(dropped),
            why=dropped[-1] if dropped else "",
            number=self._numbers[name],
            low=low,
            high=high,
            watch=self._watch.watch,
        )

    def _sample(self, name: str) -> float | None:
        call, number = self._calls[name], self._numbers[name]
        for _ in range(1 + RETRIES):
            with _limit(name, self._limit_s, number):
                elapsed = self._watch.seconds(call, number)
            disturbance = self._watch.disturbance()
            if disturbance is None:
                return elapsed / number
            self._dropped[name].append(disturbance)
        return None

    def _calibrated(self, name: str) -> int:
        call = self._calls[name]
        # the first call compiles and allocates, the second runs from warm caches
        for _ in range(2):
            with _limit(name, self._limit_s, 1):
                call()
        return self._watch.number(call)


def stopwatch(device: str) -> Stopwatch:
    """The way to take samples on ``device``. ValueError for one that has none."""
    if device == "cpu":
        return CpuStopwatch()
    if device.partition(":")[0] == "cuda":
        return CudaStopwatch(device)
    raise ValueError(f"device {device!r}, want cpu or cuda")


class CpuStopwatch:
    """Wall clock; a sample is disturbed when threads of this process queued for a CPU."""

    def __init__(self) -> None:
        readable = _queued_ns() is not None
        self.watch = "run queue" if readable else "nothing: this kernel keeps no schedstat"
        self._share = 0.0

    def seconds(self, call: Call, number: int) -> float:
        queued = _queued_ns()
        repeat = itertools.repeat(None, number)
        start = time.perf_counter_ns()
        for _ in repeat:
            call()
        elapsed = time.perf_counter_ns() - start
        after = _queued_ns()
        waited = max(after - queued, 0) if queued is not None and after is not None else 0
        self._share = waited / max(elapsed, 1)
        return elapsed / 1e9

    def number(self, call: Call) -> int:
        number = 1
        while (elapsed := self._undisturbed(call, number)) < SAMPLE_S / 2:
            number *= 2
        return math.ceil(number * SAMPLE_S / elapsed)

    def _undisturbed(self, call: Call, number: int) -> float:
        elapsed = self.seconds(call, number)
        # one preemption would look like a slow call and end the search
        return min(elapsed, self.seconds(call, number)) if elapsed >= SAMPLE_S / 2 else elapsed

    def disturbance(self) -> str | None:
        return f"queued for {self._share:.0%}" if self._share > WAITED else None


class CudaStopwatch:
    """CUDA events around calls that find the L2 cache cold; the SM clock is read around a sample.

    The flush keeps the GPU busy while the host enqueues the call, so a call that launches for longer
    than the flush lasts is charged for its launches, as its user would be.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._torch = torch
        self._device = torch.device(device)
        properties = torch.cuda.get_device_properties(self._device)
        self._flush = torch.empty(
            2 * properties.L2_cache_size, dtype=torch.uint8, device=self._device
        )
        self._gpu, reason = nvml.gpu_of_torch(properties)
        self.watch = "SM clock and throttle reasons" if self._gpu else f"nothing: {reason}"
        self._disturbance: str | None = None

    def seconds(self, call: Call, number: int) -> float:
        torch = self._torch
        with torch.cuda.device(self._device):
            events = [self._cold_call(call) for _ in range(number)]
            # the GPU is still busy: the clock read is the clock it runs at, not its idle clock
            self._disturbance = self._gpu.slowdown(CLOCK) if self._gpu else None
            torch.cuda.synchronize(self._device)
            return sum(start.elapsed_time(end) for start, end in events) / 1e3

    def number(self, call: Call) -> int:
        elapsed = self.seconds(call, 3) / 3
        return max(1, min(CUDA_CALLS, math.ceil(CUDA_SAMPLE_S / max(elapsed, 1e-9))))

    def disturbance(self) -> str | None:
        return self._disturbance

    def _cold_call(self, call: Call) -> tuple[Any, Any]:
        torch = self._torch
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._flush.zero_()
        start.record()
        call()
        end.record()
        return start, end


def _queued_ns() -> int | None:
    """Nanoseconds that all threads of this process have spent ready but not running."""
    waits = []
    for task in Path("/proc/self/task").glob("*/schedstat"):
        # a thread may end while the folder is read
        with contextlib.suppress(OSError, IndexError):
            waits.append(int(task.read_text().split()[1]))
    return sum(waits) if waits else None


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    was = gc.isenabled()
    gc.collect()
    # what lives already is not looked at again: the collection of each round is quick
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was:
            gc.enable()


@contextlib.contextmanager
def _limit(name: str, limit_s: float | None, number: int) -> Iterator[None]:
    if limit_s is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise ValueError("limit_s outside the main thread, want None there")

    def late(signum: int, frame: object) -> None:
        raise TimeoutError(f"{name} ran longer than {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, limit_s * number)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
