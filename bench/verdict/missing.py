"""What would settle an open claim: the suites that measure it, and how long the clock takes at least."""

from collections.abc import Iterable, Iterator

from ..engine import clock, runner, suite
from ..engine.metrics import METRICS, TRAINING_TRACE, Way
from ..record.measurement import dims
from .claims import Claim


def suites_for(claim: Claim, suites: Iterable[suite.Suite]) -> list[tuple[str, float | None]]:
    """Suites with a problem the claim speaks about, each with seconds; shortest first, smoke if equal.

    The seconds are what the clock samples take at least; a figure that needs no clock, and a task,
    whose time depends on the machine, have none.
    """
    found = []
    for each in suites:
        if METRICS[claim.metric].way is Way.TRAINING and _names_task(claim, each):
            found.append((each.name, None))
        elif problems := list(_problems(claim, each)):
            timed = METRICS[claim.metric].way is Way.CLOCK
            sample_s = runner.ROUNDS * clock.SAMPLE_S
            found.append((each.name, sample_s * sum(problems) if timed else None))
    return sorted(found, key=lambda one: (one[1] or 0.0, one[0] != "smoke", one[0]))


def _problems(claim: Claim, each: suite.Suite) -> Iterator[int]:
    """Contestants of every problem on which the metric is taken of the plugin."""
    for contest in each.contests:
        if claim.plugin not in contest.plugins or claim.metric not in runner.KERNEL:
            continue
        for sizes in _taken_at(claim.metric, contest):
            for dtype in contest.dtypes:
                if _covers(claim, sizes, dtype):
                    yield len(contest.plugins)


def _taken_at(metric: str, contest: suite.Contest) -> tuple[str, ...]:
    if metric in TRAINING_TRACE:
        return contest.trained_sizes
    return contest.modelled_sizes if METRICS[metric].way is Way.TRACE else contest.sizes


def _covers(claim: Claim, sizes: str, dtype: str) -> bool:
    anywhere = {name: wanted for name, wanted in claim.where.items() if name != "machine"}
    unbound = Claim(**{**vars(claim), "where": anywhere})
    return bool(dims(sizes)) and unbound.covers(machine=(), dtype=dtype, sizes=sizes)


def _names_task(claim: Claim, each: suite.Suite) -> bool:
    wanted = claim.where.get("task", [])
    names = [wanted] if isinstance(wanted, str) else wanted
    return any(task == name or task.startswith(f"{name}-") for task in each.tasks for name in names)
