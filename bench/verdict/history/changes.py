"""Changes: where a series has left its level, with the commit, the size and which way is worse.

A figure that repeats exactly changes wherever it differs. A noisy one changes where ``segments`` is
sure of it and the levels differ by ``THRESHOLD``. A regression that was made good stays in the list,
with the commit that made it good. Levels are means over commits, of logarithms where all is positive.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import variance
from typing import Any

from ...engine.metrics import Way
from ...engine.noise import median
from ...record.measurement import Measurement
from . import segments
from .points import Series, series
from .segments import Step

THRESHOLD = 0.03
"""Of the level, or points of a fraction: what is less decides nothing, however sure it is."""
FRACTION = "fraction"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One step of one series."""

    series: Series
    commit: str
    """The first commit at the new level."""
    committed: str
    last: str
    """The last commit measured at the old level; what lies between was not measured."""
    before: float
    after: float
    """Levels, in the unit of the metric."""
    size: float
    """after / before, or after - before where ``difference``."""
    low: float
    high: float
    """Ends of the 99% interval of ``size``; of a figure that repeats exactly, ``size`` itself."""
    difference: bool
    """True for fractions, and where a level is zero or less."""
    worse: bool
    """Whether the step went the wrong way; False too for a figure that knows no wrong way."""
    recovered: str | None = None
    """Of a step for the worse, the first commit at which the level was back, if it is."""

    def facts(self) -> dict[str, Any]:
        """The change as one row of ``madbench history --json``."""
        row = {name: value for name, value in vars(self).items() if name != "series"}
        return self.series.facts() | row


def changes(known: Iterable[Measurement]) -> list[Change]:
    """Every change of every series, the newest commit first."""
    known = list(known)
    order = {one.commit: one.moment for one in known}
    found = [change for one in series(known) for change in of(one)]
    return sorted(found, key=lambda change: order[change.commit], reverse=True)


def of(one: Series) -> list[Change]:
    """The changes of a series, oldest first."""
    values = [point.value for point in one.points]
    metric = one.definition
    difference = metric.unit == FRACTION or any(
        sample <= 0 for point in one.points for sample in point.samples
    )
    if metric.exact:
        found = segments.exact_steps(values)
    else:
        found = _noisy(one, difference=difference)
    return [_change(one, found, i, difference=difference) for i in range(len(found))]


def _noisy(one: Series, *, difference: bool) -> list[Step]:
    """Steps in logarithms, so that they are ratios, or in the figures where only those subtract."""
    turned: Callable[[float], float] = float if difference else math.log
    samples = [[turned(sample) for sample in point.samples] for point in one.points]
    threshold = _threshold(one, difference=difference)
    if one.definition.way is Way.TRAINING:
        found = segments.paired_steps(samples, threshold)
    else:
        within = [_variance(each) for each in samples]
        found = segments.steps([median(each) for each in samples], within, threshold)
    if difference:
        return found
    back = [
        step._replace(before=math.exp(step.before), after=math.exp(step.after)) for step in found
    ]
    return [step._replace(low=math.exp(step.low), high=math.exp(step.high)) for step in back]


def _threshold(one: Series, *, difference: bool) -> float:
    if not difference:
        return math.log1p(THRESHOLD)
    if one.unit == FRACTION:
        return THRESHOLD
    return THRESHOLD * median([abs(point.value) for point in one.points])


def _variance(samples: Sequence[float]) -> float:
    """Of the median of a run, for normal noise: that of a sample times pi / 2n."""
    if len(samples) < 2:
        return 0.0
    return variance(samples) * math.pi / 2 / len(samples)


def _change(one: Series, found: Sequence[Step], i: int, *, difference: bool) -> Change:
    step = found[i]
    size, low, high = step.after - step.before, step.low, step.high
    if not difference:
        size = step.after / step.before
    if one.definition.exact:
        low = high = size
    rising = step.after > step.before
    worse = one.directed and rising is not one.definition.higher_is_better
    later = next(
        (each for each in found[i + 1 :] if _is_back(one, step, each, difference=difference)), None
    )
    return Change(
        series=one,
        commit=one.points[step.at].commit,
        committed=one.points[step.at].committed,
        last=one.points[step.at - 1].commit,
        before=step.before,
        after=step.after,
        size=size,
        low=low,
        high=high,
        difference=difference,
        worse=worse,
        recovered=one.points[later.at].commit if worse and later else None,
    )


def _is_back(one: Series, loss: Step, later: Step, *, difference: bool) -> bool:
    """Whether a later level is as good as that before the loss, or cannot be told from it."""
    turned: Callable[[float], float] = float if difference else math.log
    sign = -1.0 if one.definition.higher_is_better else 1.0
    lost = sign * (turned(later.after) - turned(loss.before))
    unsure = math.hypot(loss.unsure[0], later.unsure[1])
    return lost <= _threshold(one, difference=difference) + unsure
