"""Figures that repeat exactly, held against each other: pure functions of what two sides showed.

No clock took them, so one figure a side is all there is to know, and a worsening beyond what
``suites/gate.toml`` allows is a regression. The scores of a task are one a seed, and a seed gives
both sides the same sequences: equal scores are unchanged, scores of which none fell beyond the
allowance are kept, and the rest are decided on the differences seed by seed, as times are on those
round by round.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engine.metrics import METRICS
from .allowance import Allowance, Settings
from .binaries import Compiled, Target
from .decision import Decision, decide
from .finding import Answer, Finding
from .sides import UNMEASURED, Sight

ROUNDING = {"float64": 2**-53, "float32": 2**-24, "float16": 2**-11, "bfloat16": 2**-8}
"""Largest relative error of rounding a number once: the answer in this dtype can have no less."""

BOTH_OK = "ok on both sides"


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a figure is about."""

    plugin: str
    sizes: str = ""
    dtype: str = ""
    target: str = ""

    def finding(self, metric: str, answer: Answer, why: str, **more: Any) -> Finding:
        """What was found here of ``metric``."""
        known = METRICS[metric]
        return Finding(
            **vars(self),
            metric=metric,
            unit=known.unit,
            answer=answer,
            why=why,
            modelled=known.modelled,
            **more,
        )


def outcome(place: Place, base: Sight, head: Sight) -> Finding | None:
    """What became of a plugin that is not ok on both sides; None where it is."""
    if base.ok and head.ok:
        return None
    answer, why = _outcome(base, head)
    return place.finding(
        "contract", answer, why, base=float(base.failing), head=float(head.failing)
    )


def _outcome(base: Sight, head: Sight) -> tuple[Answer, str]:
    said = f"{head.outcome}: {head.reason}" if head.reason else head.outcome
    for side, sight in (("base", base), ("head", head)):
        if sight.outcome == UNMEASURED:
            return Answer.UNCLEAR, f"the {side} cannot be measured with this ruler: {sight.reason}"
    if head.ok:
        return Answer.KEEP, f"mended: the base is {base.outcome}: {base.reason}"
    if base.ok:
        return Answer.REGRESSION, f"ok at the base, now {said}"
    if head.outcome == "wrong" and base.outcome == "unsupported":
        return Answer.REGRESSION, f"refused at the base, now {said}"
    if head.failing > base.failing and base.outcome == "wrong":
        return Answer.REGRESSION, f"more checks fail than at the base: {said}"
    if head.outcome == base.outcome:
        return Answer.KEEP, f"on both sides {said}"
    return Answer.KEEP, f"{base.outcome} at the base, now {said}"


def figures(place: Place, base: Sight, head: Sight, settings: Settings) -> Iterator[Finding]:
    """Every figure of a plugin that is ok on both sides; a figure that is gone is a regression."""
    if base.ok and head.ok:
        yield place.finding("contract", Answer.KEEP, BOTH_OK, base=0.0, head=0.0)
    for metric in sorted({*base.figures, *head.figures}):
        if metric not in settings.allowances:
            continue
        if metric in base.figures and metric in head.figures:
            (before,), (after,) = base.figures[metric], head.figures[metric]
            yield compare(place, settings.allowances[metric], before, after)
        else:
            yield _half(place, metric, base, head)
    for way in sorted({*base.missing, *head.missing}):
        if way not in METRICS and way in base.missing and way in head.missing:
            yield place.finding(
                "contract", Answer.KEEP, f"no {way} on either side: {head.missing[way]}"
            )


def _half(place: Place, metric: str, base: Sight, head: Sight) -> Finding:
    """A figure that one side lacks."""
    gone, there = (head, base) if metric in base.figures else (base, head)
    way = str(METRICS[metric].way)
    reason = gone.missing.get(metric) or gone.missing.get(way) or "no reason given"
    if gone is base:
        (after,) = there.figures[metric]
        return place.finding(metric, Answer.KEEP, f"the base has none: {reason}", head=after)
    (before,) = there.figures[metric]
    return place.finding(metric, Answer.REGRESSION, f"the head has none: {reason}", base=before)


def compare(
    place: Place,
    allowed: Allowance,
    base: float,
    head: float,
    occupancy: tuple[float, float] = (1.0, 1.0),
) -> Finding:
    """One figure of both sides; ``occupancy`` is that of its kernels, base and head."""
    answer, why = _judged(place, allowed, base, head, occupancy)
    change = 1.0 if base == head else head / base if base else None
    return place.finding(allowed.metric, answer, why, base=base, head=head, change=change)


def _judged(
    place: Place, allowed: Allowance, base: float, head: float, occupancy: tuple[float, float]
) -> tuple[Answer, str]:
    if base == head:
        return Answer.KEEP, "unchanged"
    if allowed.worse == "never":
        return Answer.KEEP, "shown only"
    if allowed.worse == "vanish":
        gone = base > 0 and head == 0
        return (Answer.REGRESSION, "none is left") if gone else (Answer.KEEP, "not to none")
    # a figure that is no number compares with nothing, and must not pass for it
    if head <= base:
        return Answer.KEEP, "better"
    if allowed.worse == "occupancy":
        before, after = (f"{100 * share:.3g}%" for share in occupancy)
        if occupancy[1] < occupancy[0]:
            return Answer.REGRESSION, f"occupancy falls from {before} to {after}"
        return Answer.KEEP, f"occupancy stays at {after}"
    if allowed.metric == "error" and head <= ROUNDING.get(place.dtype, 0.0):
        return Answer.KEEP, f"below one rounding of {place.dtype}"
    if head <= base * (1 + allowed.by):
        return Answer.KEEP, f"within the allowance of {allowed.by:.0%}"
    limit = f"a rise of {allowed.by:.0%}" if allowed.by else "no rise"
    return Answer.REGRESSION, f"{limit} is allowed"


def binaries(place: Place, base: Compiled, head: Compiled, settings: Settings) -> Iterator[Finding]:
    """Figures of what was compiled for each card; what no longer compiles or fits is a regression."""
    if isinstance(base, str) or isinstance(head, str):
        yield place.finding("registers", *_uncompiled(base, head))
        return
    for target in sorted({*base, *head}, key=_number):
        here = replace(place, target=target)
        before, after = base.get(target), head.get(target)
        if before is None or after is None:
            yield here.finding("registers", *_one_target(before))
        elif before.broken or after.broken:
            yield here.finding("registers", *_unfit(before, after))
        else:
            shares = before.occupancy, after.occupancy
            for metric, value in before.figures.items():
                allowed = settings.allowances[metric]
                yield compare(here, allowed, value, after.figures[metric], shares)


def _number(target: str) -> tuple[int, str]:
    """``sm_90`` before ``sm_100``."""
    return int(target.split()[0].removeprefix("sm_")), target


def _uncompiled(base: Compiled, head: Compiled) -> tuple[Answer, str]:
    if isinstance(head, str) and isinstance(base, str):
        return Answer.KEEP, f"compiled on neither side: {head}"
    if isinstance(head, str):
        return Answer.REGRESSION, f"compiled at the base, now: {head}"
    return Answer.KEEP, f"compiles now, at the base: {base}"


def _one_target(base: Target | None) -> tuple[Answer, str]:
    if base is None:
        return Answer.KEEP, "launches kernels, which the base did not"
    return Answer.KEEP, "launches no kernel any more; the trace counts what it does instead"


def _unfit(base: Target, head: Target) -> tuple[Answer, str]:
    if base.broken and head.broken:
        return Answer.KEEP, f"cannot be launched on either side: {head.broken}"
    if head.broken:
        return Answer.REGRESSION, f"could be launched at the base: {head.broken}"
    return Answer.KEEP, f"can be launched now, at the base: {base.broken}"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of a mixer on a task, one figure a seed, the same seeds on both sides."""

    place: Place
    metric: str
    base: tuple[float, ...]
    head: tuple[float, ...]

    @property
    def gains(self) -> tuple[float, ...]:
        """Head minus base, seed by seed."""
        return tuple(after - before for before, after in zip(self.base, self.head, strict=True))


def scores(place: Place, base: Sight, head: Sight) -> Iterator[Score | Finding]:
    """What a mixer that was trained on both sides scored; a finding where seeds are missing."""
    yield place.finding("contract", Answer.KEEP, BOTH_OK, base=0.0, head=0.0)
    for metric in sorted({*base.figures, *head.figures}):
        before, after = base.figures.get(metric, ()), head.figures.get(metric, ())
        if len(before) == len(after):
            yield Score(place=place, metric=metric, base=before, head=after)
            continue
        # a run that was lost is told of by its outcome; a threshold never reached is no figure
        yield place.finding(
            metric,
            Answer.KEEP,
            f"shown only: {len(before)} seeds have one at the base, {len(after)} at the head",
        )


def seeds(found: Sequence[Score], settings: Settings) -> list[Finding]:
    """A finding for every score; those that a seed lost are decided together."""
    cells: dict[float, dict[int, list[float]]] = {}
    for number, score in enumerate(found):
        allowed = settings.allowances[score.metric]
        if allowed.worse == "drop" and min(score.gains) < -allowed.by:
            cells.setdefault(allowed.by, {})[number] = [-gain for gain in score.gains]
    decisions: dict[int, Decision] = {}
    for by, series in cells.items():
        decisions |= decide(series, by, settings.confidence)
    return [
        _seeds(score, settings.allowances[score.metric], decisions.get(number))
        for number, score in enumerate(found)
    ]


def _seeds(score: Score, allowed: Allowance, decided: Decision | None) -> Finding:
    gains, more = score.gains, dict[str, float]()
    count = len(gains)
    lost = sum(gain < -allowed.by for gain in gains)
    answer, why = Answer.KEEP, f"no seed of {count} lost more than the {allowed.by:g} allowed"
    if decided:
        answer, why = decided.answer, f"{lost} of {count} seeds lost more than {allowed.by:g}"
        # a loss is a fall: the ends change places
        ends = {"low": -decided.high, "high": -decided.low, "smallest": -decided.smallest}
        more = {name: end for name, end in ends.items() if math.isfinite(end)}
    elif not any(gains):
        why = f"unchanged on {count} seeds"
    elif allowed.worse == "never":
        why = "shown only"
    return score.place.finding(
        score.metric,
        answer,
        why,
        base=sum(score.base) / count,
        head=sum(score.head) / count,
        change=sum(gains) / count,
        difference=True,
        **more,
    )
