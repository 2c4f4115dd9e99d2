"""Series: one figure of one plugin over commits, on one machine with one software stack.

A commit is one point. Where it was measured more than once, the newest measurement speaks for it:
samples of two runs are not pooled, for the drift between runs is what has to be told from a change.
A commit at which the plugin fails its contract has no point, except in the series of ``contract``,
which counts the checks that fail. Another stack, another suite, another budget or another setting is another
series, so that none of them is ever taken for the work of a commit. No torch, no clock.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...engine.metrics import METRICS, Metric, Way
from ...record.measurement import Measurement

TWINS = {"tokens_per_s": "us_per_token"}
"""A figure that only shows, to the one it is derived from, which gates: a loss in both or neither."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a series has at one commit."""

    commit: str
    committed: str
    date: str
    """When it was measured."""
    value: float
    low: float
    high: float
    """Ends of the 99% interval of the median within this run."""
    samples: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One figure over commits, oldest first."""

    plugin: str
    metric: str
    unit: str
    sizes: str
    dtype: str
    machine: str
    kind: str
    suite: str
    software: str
    """``numpy 2.4.6, torch 2.13.0``."""
    settings: str
    """Digest of a task's settings; empty for what is no task."""
    knobs: str
    """The stored setting that the plugin ran with; empty where it ran as it stands."""
    points: tuple[Point, ...]

    @property
    def definition(self) -> Metric:
        """The metric: direction, how it is come by, what it says."""
        return METRICS[self.metric]

    @property
    def directed(self) -> bool:
        """Whether the figure can be worse: it gates, or is derived from one that does."""
        return METRICS[TWINS.get(self.metric, self.metric)].gates

    def facts(self) -> dict[str, Any]:
        """What the series is of, without its points."""
        return {name: value for name, value in vars(self).items() if name != "points"}


IDENTITY = (
    "plugin", "metric", "unit", "sizes", "dtype", "machine", "kind", "suite", "software", "settings",
    "knobs",
)  # fmt: skip


def series(known: Iterable[Measurement]) -> list[Series]:
    """Every series of the measurements, sorted by what it is of."""
    known = list(known)
    wrong = {(_base(one.plugin), one.commit) for one in known if fails(one)}
    groups: dict[tuple[str, ...], dict[str, Measurement]] = {}
    for one in known:
        if not _counts(one, wrong):
            continue
        commits = groups.setdefault(tuple(getattr(one, name) for name in IDENTITY), {})
        there = commits.get(one.commit)
        if there is None or _newness(there) < _newness(one):
            commits[one.commit] = one
    return [
        Series(**dict(zip(IDENTITY, identity, strict=True)), points=_points(groups[identity]))
        for identity in sorted(groups)
    ]


def fails(one: Measurement) -> bool:
    """Whether the measurement says that its plugin fails its contract at its commit."""
    return one.contract == "wrong" or (one.metric == "contract" and any(one.samples))


def _counts(one: Measurement, wrong: set[tuple[str, str]]) -> bool:
    if one.metric == "contract":
        return True
    if (_base(one.plugin), one.commit) in wrong or not math.isfinite(one.value):
        return False
    # what was compiled never ran: its contract is checked where it runs
    return one.contract == "ok" or METRICS[one.metric].way is Way.COMPILE


def _newness(one: Measurement) -> tuple[str, str, tuple[float, ...]]:
    return one.date, one.group, one.samples


def _points(commits: Mapping[str, Measurement]) -> tuple[Point, ...]:
    ordered = sorted(commits.values(), key=lambda one: one.moment)
    return tuple(
        Point(
            commit=one.commit,
            committed=one.committed,
            date=one.date,
            value=one.value,
            low=one.low,
            high=one.high,
            samples=one.samples,
        )
        for one in ordered
    )


def _base(plugin: str) -> str:
    """The id without the settings behind it."""
    return plugin.partition("(")[0]
