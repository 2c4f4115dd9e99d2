"""Comparisons: every case that measurements make of a claim, judged on the ends of a 99% interval.

A case is one problem on one machine at one commit. A machine never lends its figures to another,
and a contestant whose contract fails has none.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from ...engine import metrics, noise
from ...record.measurement import Measurement
from ..claims import Claim, axes_of
from ..history.points import fails
from .judgement import Evidence, State

CASE = ("kind", "sizes", "dtype", "software", "settings")
"""What is compared with each other on one machine at one commit."""


def speaks(claim: Claim, one: Measurement) -> bool:
    """Whether the measurement is of a contestant, within the scope, and come by as the metric is."""
    return (
        one.plugin in (claim.plugin, claim.against)
        and claim.covers(machine=(one.kind, one.machine), dtype=one.dtype, sizes=one.sizes)
        and one.modelled == metrics.METRICS[one.metric].modelled
    )


def speaks_of_contract(claim: Claim, one: Measurement) -> bool:
    """Whether it tells of a contestant's contract on such a machine, on whatever problem."""
    if one.plugin not in (claim.plugin, claim.against):
        return False
    if not claim.covers_machine((one.kind, one.machine)):
        return False
    return fails(one) or one.metric == "contract" or speaks(claim, one)


def _has_figures(one: Measurement) -> bool:
    return bool(one.samples) and all(map(math.isfinite, one.samples))


def comparisons(claim: Claim, measurements: Iterable[Measurement]) -> list[Evidence]:
    """Every comparison that the measurements allow, at every commit."""
    usable = [one for one in measurements if one.contract == "ok" and _has_figures(one)]
    if claim.comparison == "slope":
        return _slopes(claim, usable)
    found = []
    for _, problem in grouped(usable, ("machine", *CASE, "commit")):
        ours = [one for one in problem if one.plugin == claim.plugin]
        theirs = [one for one in problem if one.plugin == claim.against]
        if claim.against is None:
            found += [_evidence(claim, one, *_alone(one)) for one in ours]
        else:
            found += [
                replace(_evidence(claim, a, *_compared(claim, a, b)), knobs=_knobs([a, b]))
                for a, b in _pairs(ours, theirs)
            ]
    return found


def _pairs(
    ours: Sequence[Measurement], theirs: Sequence[Measurement]
) -> Iterator[tuple[Measurement, Measurement]]:
    """Those taken in the same rounds; where there are none, everything against everything."""
    every = [(a, b) for a in ours for b in theirs]
    together = [(a, b) for a, b in every if _same_rounds(a, b)]
    yield from together or every


def _same_rounds(a: Measurement, b: Measurement) -> bool:
    return bool(a.group) and a.group == b.group and len(a.samples) == len(b.samples)


def _alone(one: Measurement, confidence: float = noise.CONFIDENCE) -> tuple[float, float, float]:
    """Value and the ends of its interval; a figure that repeats exactly is its own interval."""
    if metrics.METRICS[one.metric].exact:
        return one.value, min(one.samples), max(one.samples)
    low, high = noise.median_interval(one.samples, confidence)
    return one.value, low, high


def _compared(claim: Claim, a: Measurement, b: Measurement) -> tuple[float, float, float]:
    """Ratio or difference of two measurements and the ends of its interval."""
    ratio = claim.comparison == "ratio"
    if not metrics.METRICS[claim.metric].exact and _same_rounds(a, b):
        if not ratio:
            pairs = [x - y for x, y in zip(a.samples, b.samples, strict=True)]
            low, high = noise.median_interval(pairs)
            return noise.median(pairs), low, high
        if min(*a.samples, *b.samples) > 0:
            pairs = [x / y for x, y in zip(a.samples, b.samples, strict=True)]
            low, high = noise.paired_ratio(a.samples, b.samples)
            return noise.median(pairs), low, high
    # two intervals, each missed half as often, are both right as often as one
    confidence = 1 - (1 - noise.CONFIDENCE) / 2
    (x, low_a, high_a), (y, low_b, high_b) = _alone(a, confidence), _alone(b, confidence)
    if not ratio:
        return x - y, low_a - high_b, high_a - low_b
    if low_b <= 0 or low_a < 0:
        return x / y if y else math.nan, -math.inf, math.inf
    return x / y, low_a / high_b, high_a / low_b


def _slopes(claim: Claim, measurements: Iterable[Measurement]) -> list[Evidence]:
    """Growth over one axis where the other sizes stay: d log(metric) / d log(axis)."""
    found = []
    for _, one_commit in grouped(
        measurements, ("machine", "kind", "dtype", "software", "settings", "commit")
    ):
        lines: dict[str, dict[int, Measurement]] = {}
        for one in (one for one in one_commit if one.plugin == claim.plugin):
            axes = axes_of(one.sizes)
            if claim.over in axes:
                size = axes.pop(claim.over)
                still = [name for name in axes if name not in claim.along]
                rest = "-".join(f"{name}{axes[name]}" for name in still)
                lines.setdefault(rest, {})[size] = one
        for rest, line in lines.items():
            if len(line) > 1:
                any_one = next(iter(line.values()))
                made = _evidence(claim, any_one, *_slope(line), sizes=rest)
                found.append(replace(made, knobs=_knobs(line.values())))
    return found


def _knobs(compared: Iterable[Measurement]) -> str:
    """The stored settings of all that were compared, each with its plugin and sizes."""
    told = {f"{one.plugin} {one.sizes} {one.knobs}" for one in compared if one.knobs}
    return "; ".join(sorted(told))


def _slope(line: Mapping[int, Measurement]) -> tuple[float, float, float]:
    """Least-squares slope in logarithms; the ends take every point at its worse end."""
    logs = [math.log(size) for size in line]
    mean = sum(logs) / len(logs)
    spread = sum((log - mean) ** 2 for log in logs)
    weights = [(log - mean) / spread for log in logs]
    confidence = 1 - (1 - noise.CONFIDENCE) / len(line)
    alone = [_alone(one, confidence) for one in line.values()]
    if min(low for _, low, _ in alone) <= 0:
        return math.nan, -math.inf, math.inf
    points = [tuple(map(math.log, each)) for each in alone]
    ends = [(low, high) if w > 0 else (high, low) for (_, low, high), w in zip(points, weights)]
    return (
        sum(w * point[0] for w, point in zip(weights, points)),
        sum(w * end[0] for w, end in zip(weights, ends)),
        sum(w * end[1] for w, end in zip(weights, ends)),
    )


def _evidence(
    claim: Claim, one: Measurement, value: float, low: float, high: float, sizes: str = ""
) -> Evidence:
    return Evidence(
        machine=one.machine,
        kind=one.kind,
        sizes=sizes or one.sizes,
        dtype=one.dtype,
        commit=one.commit,
        committed=one.committed,
        value=value,
        low=low,
        high=high,
        state=_state(low, high, claim.bounds),
        position=one.position,
        software=one.software,
        settings=one.settings,
        knobs=_knobs([one]),
    )


def _state(low: float, high: float, bounds: Mapping[str, float]) -> State:
    most = min(bounds.get("at_most", math.inf), bounds.get("equals", math.inf))
    least = max(bounds.get("at_least", -math.inf), bounds.get("equals", -math.inf))
    if low > most or high < least:
        return State.REFUTED
    return State.CONFIRMED if low >= least and high <= most else State.INCONCLUSIVE


def grouped(things: Iterable[Any], names: Sequence[str]) -> Iterator[tuple[Any, list[Any]]]:
    def key(thing: Any) -> tuple[Any, ...]:
        return tuple(getattr(thing, name) for name in names)

    # sorted by everything, so that the outcome does not depend on the order of the input
    ordered = sorted(things, key=lambda thing: (key(thing), repr(thing)))
    for found, members in groupby(ordered, key):
        yield found, list(members)
