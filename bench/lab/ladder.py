"""Ladder: the largest learning rate at which a mixer still learns, seed by seed.

Every seed starts at the mixer's committed rate, with a share of the budget on each rung, and climbs by
factors of the root of two until a run does not end ``ok`` as ``outcome.py`` has it: it diverged, stayed flat,
or its score stayed at chance. The rung before is the seed's largest rate. A seed that does not learn at the
committed rate goes down by the same factors instead, to the first rung at which it does.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from .agenda import Tryout
from .training.run import Job, Run

STEP = math.sqrt(2)
"""Factor from rung to rung."""
RUNGS = 21
"""At most: a factor of 2^10 over the committed rate, or under it."""
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
    rungs = {(mixer, seed): 0 for mixer in rates for seed in held.seeds_of(mixer)}
    for _ in range(RUNGS):
        jobs = [
            _job(held, *place, rates[place[0]] * STEP**rung, device)
            for place, rung in rungs.items()
        ]
        tried, rungs = rungs, {}
        for job, run in zip(jobs, train(jobs) if jobs else (), strict=True):
            place = (job.mixer, job.seed)
            if isinstance(run, Exception):
                reasons[job.mixer] = f"seed {job.seed} at rate {job.rate:.2g}: {run}"
            elif run.outcome == "ok":
                largest[place] = job.rate
                if tried[place] >= 0:
                    rungs[place] = tried[place] + 1
            elif tried[place] <= 0:
                rungs[place] = tried[place] - 1
    for (mixer, seed), rung in rungs.items():
        learns = "learns" if rung > 0 else "does not learn"
        last = rates[mixer] * STEP ** (rung - math.copysign(1, rung))
        reasons[mixer] = f"seed {seed} {learns} at the last rate tried, {last:.2g}"
    return {
        mixer: reasons.get(mixer) or tuple(largest[mixer, seed] for seed in held.seeds_of(mixer))
        for mixer in rates
    }


def _job(held: Tryout, mixer: str, seed: int, rate: float, device: str) -> Job:
    tokens = int(SHARE * held.tokens)
    return Job(mixer=mixer, task=held.task, seed=seed, rate=rate, tokens=tokens, device=device)
