"""Ladder: the largest learning rate at which a mixer still learns, seed by seed.

Every seed climbs from the mixer's committed rate by factors of the root of two, with a share of the budget
on each rung, until a run does not end ``ok`` as ``outcome.py`` has it: it diverged, stayed flat, or its
score stayed at chance. The rung before is the seed's largest rate.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from .agenda import Tryout
from .training.run import Job, Run

STEP = math.sqrt(2)
"""Factor from rung to rung."""
RUNGS = 21
"""At most: a factor of 2^10 over the committed rate."""
SHARE = 0.25
"""Of the tryout's budget, spent on each rung."""


def largest_rates(
    held: Tryout,
    rates: Mapping[str, float],
    train: Callable[[Sequence[Job]], Sequence[Run | Exception]],
    device: str = "cpu",
) -> dict[str, tuple[float, ...] | str]:
    """The largest rate of every seed, or why there is none, of each mixer that has a rate in ``rates``."""
    largest: dict[tuple[str, int], float] = {}
    reasons: dict[str, str] = {}
    climbing = [(mixer, seed) for mixer in rates for seed in held.seeds_of(mixer)]
    for rung in range(RUNGS):
        jobs = [_job(held, *place, rates[place[0]] * STEP**rung, device) for place in climbing]
        climbing = []
        for job, run in zip(jobs, train(jobs) if jobs else (), strict=True):
            if isinstance(run, Exception):
                reasons[job.mixer] = f"seed {job.seed} at rate {job.rate:.2g}: {run}"
            elif run.outcome == "ok":
                largest[job.mixer, job.seed] = job.rate
                climbing.append((job.mixer, job.seed))
    for place in climbing:
        mixer, seed = place
        reasons[mixer] = f"seed {seed} learns at the last rate tried, {largest[place]:.2g}"
    return {mixer: reasons.get(mixer) or _found(held, mixer, largest) for mixer in rates}


def _job(held: Tryout, mixer: str, seed: int, rate: float, device: str) -> Job:
    tokens = int(SHARE * held.tokens)
    return Job(mixer=mixer, task=held.task, seed=seed, rate=rate, tokens=tokens, device=device)


def _found(
    held: Tryout, mixer: str, largest: Mapping[tuple[str, int], float]
) -> tuple[float, ...] | str:
    found = [largest.get((mixer, seed)) for seed in held.seeds_of(mixer)]
    if never := found.count(None):
        return f"{never} of {len(found)} seeds do not learn at the committed rate in a share of the budget"
    return tuple(rate for rate in found if rate is not None)
