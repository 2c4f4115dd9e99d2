"""Two processes taking turns: one imports the plugins of the base, the other those of the head.

A round is a fresh pair of processes, because two processes of the same code differ by where their
code and buffers happen to lie, and all samples of one process share that luck. Within a round an
entry is timed in short turns of one sample each, and neighbours are paired:

    base head | head base | head base | base head | ...
    d = median of log(head / base) over the pairs

Whatever slows the machine for longer than a pair slows both of it. On two cores of a virtual machine,
over 14 rounds of four plugins with no change between the sides, d scattered by 1.0 to 2.8 %, and the
ratio of the two medians by 1.9 to 8.7 %. While one process samples the other waits, and on a CPU both
live on one core, another in each round: cores differ too, by 2 to 6 % in the same rounds.

Both keep the pages that they were once given. Left to itself, glibc settles whether a call of some
megabytes pays for fresh pages by what the process allocated before: of 8 rounds of one plugin with no
change, 4 differed by more than 40 %, and none by more than 7 % once it was told to keep them.

A turn begins with one call that is not timed, since the neighbour has had the caches. A disturbed
sample (``engine.clock`` says which) voids its pair. What a process cannot do is said of that side and
entry: it raised, it hung, it crashed, or the machine was too busy. Whether a plugin may be timed at
all is not asked for here.
"""

import contextlib
import gc
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ..engine import clock, contest, figures, isolation
from ..engine.checkout import Commit
from ..engine.noise import median
from ..lab.workers import Worker
from ..record.measurement import dims

SIDES = ("base", "head")
SAMPLE_S = 5e-3
"""Seconds of a sample on a CPU: 5e4 ticks of a 100 ns clock, and shorter than most bursts of noise."""
ENTRY_S = 1.0
"""Seconds that an entry is timed in a round, more where ``PAIRS[0]`` of them last longer."""
PAIRS = (8, 40)
"""Fewest and most pairs of turns; multiples of 4, so that each side comes first as often."""
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""Bytes from which glibc takes pages of their own (its largest), and gives pages back."""
BUSY = "the machine was busy in nearly every sample"
METRICS = {metrics[0]: call for call, metrics in figures.CLOCKED.items()}
"""What can be timed: a forward pass as ``time``, a training step as ``train_time``."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is timed: one plugin on one problem, forward or as a training step."""

    plugin: str
    op: str
    sizes: str
    dtype: str
    device: str
    metric: str
    layers: bool = False


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Why an entry has no time on one side."""

    reason: str
    failed: bool
    """Whether the plugin raised, hung or crashed; False where it has no time here or none was clean."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """An entry in one round: seconds of a call on each side, and the log-ratio of head to base."""

    base: float
    head: float
    difference: float


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one pair of processes said of every entry."""

    timed: Mapping[Entry, Timed]
    lost: Mapping[tuple[Entry, str], Lost]
    dropped: int
    """Samples that the machine disturbed."""


@dataclass
class _Held:
    """What this process is ready to time."""

    call: Callable[[], object] | str = ""
    watch: clock.Stopwatch | None = None
    number: int = 1


_held = _Held()


def awake(_: None) -> None:
    """The answer of a process that has imported what it needs."""


def ready(asked: tuple[Entry, int | None]) -> float | str:
    """Make this process ready to time an entry, on a core; seconds of a turn, or why none.

    An entry at a time: what the one before held on the device makes room first.
    """
    entry, core = asked
    _held.call = ""
    if core is not None:
        os.sched_setaffinity(0, {core})
    # from here on the collector never runs: it would end up in somebody's sample
    gc.disable()
    gc.collect()
    call = METRICS[entry.metric](contest.case_of(problem_of(entry), entry.plugin))
    if isinstance(call, str):
        return call
    watch = clock.stopwatch(entry.device)
    # the first call compiles and allocates, the second runs from warm caches
    for _ in range(2):
        call()
    number = watch.number(call)
    if entry.device == "cpu":
        number = math.ceil(number * SAMPLE_S / clock.SAMPLE_S)
    _held.call, _held.watch, _held.number = call, watch, number
    return watch.seconds(call, number) * (1 + 1 / number)


def problem_of(entry: Entry) -> contest.Problem:
    """The problem that an entry is timed on, with nobody else on it."""
    return contest.Problem(
        op=entry.op,
        plugins=(entry.plugin,),
        sizes=dims(entry.sizes),
        dtype=entry.dtype,
        device=entry.device,
        metrics=(entry.metric,),
        layers=entry.layers,
    )


def sample(_: None = None) -> float | None:
    """Seconds of one call of what this process is ready for; None when disturbed."""
    call, watch = _held.call, _held.watch
    if watch is None or isinstance(call, str):
        raise ValueError("nothing is ready to be timed, want ready() before sample()")
    call()
    elapsed = watch.seconds(call, _held.number)
    return None if watch.disturbance() else elapsed / _held.number


def one_round(
    entries: Sequence[Entry],
    base: Commit,
    head: Commit,
    number: int,
    *,
    limit_s: float = isolation.LIMIT_S,
    say: Callable[[Entry], None] | None = None,
) -> Round:
    """Time every entry with a fresh pair; ``number``, of the round, turns the order about.

    A process that is silent for ``limit_s`` seconds is killed, and its entry is lost.
    """
    timed: dict[Entry, Timed] = {}
    lost: dict[tuple[Entry, str], Lost] = {}
    dropped = 0
    with _pair(base, head, limit_s) as pair:
        # the imports, side by side
        with ThreadPoolExecutor(len(SIDES)) as threads:
            list(threads.map(lambda worker: worker.call(awake, None), pair.values()))
        for entry in clock.order(list(entries), number) if entries else ():
            if say:
                say(entry)
            found = _Found()
            _time(pair, entry, number, found)
            lost |= {(entry, side): why for side, why in found.lost.items()}
            dropped += found.dropped
            if found.timed:
                timed[entry] = found.timed
    return Round(timed=timed, lost=lost, dropped=dropped)


@dataclass
class _Found:
    timed: Timed | None = None
    lost: dict[str, Lost] = field(default_factory=dict)
    dropped: int = 0


Pair = Mapping[str, Worker]


@contextlib.contextmanager
def _pair(base: Commit, head: Commit, limit_s: float) -> Iterator[Pair]:
    pair = {
        side: Worker(at, limit_s=limit_s, variables=ALLOCATOR)
        for side, at in zip(SIDES, (base, head), strict=True)
    }
    try:
        yield pair
    finally:
        for worker in pair.values():
            worker.kill()
            worker.end()


def _time(pair: Pair, entry: Entry, number: int, found: _Found) -> None:
    asked = entry, _core(entry, number)
    # one after the other, for the number of calls of a sample is found with a clock
    answers = {side: worker.call(ready, asked) for side, worker in pair.items()}
    found.lost = {
        side: _lost(answer) for side, answer in answers.items() if not isinstance(answer, float)
    }
    if found.lost:
        return
    taken: dict[str, list[float]] = {side: [] for side in SIDES}
    for attempt in range(pairs(max(answers.values()))):
        both: dict[str, float] = {}
        for side in clock.order(SIDES, number + attempt):
            answer = pair[side].call(sample, None)
            if isinstance(answer, Exception):
                found.lost = {side: _lost(answer)}
                return
            if answer is None:
                found.dropped += 1
            else:
                both[side] = answer
        if len(both) == len(SIDES):
            for side, seconds in both.items():
                taken[side].append(seconds)
    _conclude(taken, found)


def pairs(turn_s: float) -> int:
    """Pairs of turns in ``ENTRY_S`` when a turn lasts ``turn_s`` seconds, a multiple of 4."""
    fewest, most = PAIRS
    return max(fewest, min(most, int(ENTRY_S / (2 * turn_s)) // 4 * 4))


def _conclude(taken: Mapping[str, Sequence[float]], found: _Found) -> None:
    base, head = (taken[side] for side in SIDES)
    if len(base) < PAIRS[0] / 2:
        why = Lost(reason=BUSY, failed=False)
        found.lost = dict.fromkeys(SIDES, why)
        return
    ratios = [math.log(b) - math.log(a) for a, b in zip(base, head, strict=True)]
    found.timed = Timed(base=median(base), head=median(head), difference=median(ratios))


def _core(entry: Entry, number: int) -> int | None:
    """The core of both processes in a round, where the system lets one be chosen."""
    if entry.device != "cpu" or not hasattr(os, "sched_setaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[number % len(allowed)]


def _lost(answer: Any) -> Lost:
    return Lost(reason=str(answer), failed=isinstance(answer, Exception))
