"""Who is fastest at an op, on one machine, and by how much against the baselines.

A row's ratio is its time over the baseline's: below 1 is faster. Where both were taken in the same
rounds it is ``paired``, its interval that of the median of the rounds' ratios. Where they were not,
its ends are those of two intervals, each taken at the confidence that leaves 99% to both.

The baselines are the rivals of every op, the one that the suite names, and the peers. A rival of
another op computes another function (``same_function`` is False): its ratio says what a layer would
cost, not how well the same answer was computed. Matrix products and bytes of both sides stand beside
every ratio, because unequal work is the first thing to ask about.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engine import rivals, store, suite
from ..engine.noise import CONFIDENCE, Interval, median, median_interval, paired_ratio
from ..record.json_value import finite
from ..record.measurement import Measurement, dims
from . import rooflines

Row = dict[str, Any]
Figures = Mapping[str, Measurement]
"""By metric, all of one plugin, problem, machine, commit and suite."""
PEERS = "peers."
"""Family of the implementations that others wrote."""
TAKEN = ("time", "rival_time", "tokens_per_s", "flops", "traffic", *rooflines.OPTIONAL)
UNTIMED = ("", "time", "rival_time")
"""What the reason for a missing time speaks of; nothing, where there is no figure at all."""


def leaderboards(measurements: Iterable[Measurement], reasons: Iterable[Row]) -> list[Row]:
    """One board an op or layer, machine, sizes and dtype, at its newest commit.

    ``measurements`` are both those of ``results_folder.read_all()`` and those of ``aside=True``;
    ``reasons`` are those of ``shown.sides.reasons``, which say why a contestant is absent.
    """
    known, told = list(measurements), list(reasons)
    contests, ceilings = _contests(known), rooflines.reached(known)
    newest: dict[tuple[str, ...], _Contest] = {}
    for one in contests:
        there = newest.get(one.problem)
        if one.first and (there is None or one.when > there.when):
            newest[one.problem] = one
    return [
        _board(newest[problem], contests, ceilings, _absent(newest[problem], known, told))
        for problem in sorted(newest)
    ]


@dataclass(frozen=True)
class _Contest:
    """What one suite took of one problem on one machine at one commit."""

    machine: str
    subject: str
    sizes: str
    dtype: str
    suite: str
    commit: str
    figures: dict[str, dict[str, Measurement]] = field(default_factory=dict)
    """Plugin to its figures by metric."""

    @property
    def problem(self) -> tuple[str, ...]:
        return self.machine, self.subject, self.sizes, self.dtype

    @property
    def first(self) -> Measurement | None:
        """Some time that was taken, or None."""
        return next((each["time"] for each in self.figures.values() if "time" in each), None)

    @property
    def when(self) -> tuple[Any, ...]:
        """Two suites may take a problem at one commit: the later rounds count."""
        assert self.first is not None
        return self.first.moment, self.first.date, self.suite


def _contests(known: Sequence[Measurement]) -> list[_Contest]:
    found: dict[tuple[str, ...], _Contest] = {}
    for one in rooflines.sound(known):
        if one.metric in TAKEN:
            key = (one.machine, rooflines.op(one), one.sizes, one.dtype, one.suite, one.commit)
            contest = found.setdefault(key, _Contest(*key))
            contest.figures.setdefault(one.plugin, {})[one.metric] = one
    return list(found.values())


def _board(
    contest: _Contest,
    contests: Iterable[_Contest],
    ceilings: Mapping[str, rooflines.Reached],
    absent: Mapping[str, str],
) -> Row:
    first = contest.first
    assert first is not None
    beside = [
        one
        for one in contests
        if (one.machine, one.commit, one.dtype) == (first.machine, first.commit, first.dtype)
    ]
    against = list(_baselines(contest, beside))
    reached = ceilings.get(contest.machine, ())
    rows = [
        _row(plugin, figures, against, reached)
        for plugin, figures in contest.figures.items()
        if "time" in figures
    ]
    shown = {row["plugin"] for row in rows}
    names = ("machine", "subject", "sizes", "dtype", "suite", "commit")
    return {name: getattr(contest, name) for name in names} | {
        "kind": first.kind,
        "committed": first.committed,
        "rows": sorted(rows, key=lambda row: (row["time"]["value"], row["plugin"])),
        "rivals": [_rival(each) for each in against if not each.same_function],
        "absent": {plugin: why for plugin, why in absent.items() if plugin not in shown},
    }


@dataclass(frozen=True, kw_only=True)
class _Against:
    """A baseline of a board: its time, in the board's rounds where there is one, and its work."""

    name: str
    plugin: str
    time: Measurement
    work: Figures
    same_function: bool


def _rival(each: _Against) -> Row:
    """What computes another function at the same sizes, and its own time."""
    low, high = median_interval(each.time.samples)
    return {
        "plugin": each.plugin,
        "name": each.name,
        "time": {"value": each.time.value, "interval": [finite(low), finite(high)]},
    }


def _baselines(contest: _Contest, beside: Iterable[_Contest]) -> Iterator[_Against]:
    named = {each.plugin: each for each in rivals.baselines()}
    mine = {_suite_baseline(contest.suite, contest.subject), *named}
    mine |= {plugin for plugin in contest.figures if plugin.startswith(PEERS)}
    for plugin in sorted(filter(None, mine)):
        rival, here = named.get(plugin), contest.figures.get(plugin, {})
        own = here if "time" in here else _elsewhere(rival, contest, beside) if rival else {}
        # the rounds of the contest before those of another
        time = here.get("time") or here.get("rival_time") or own.get("time")
        if time is not None:
            yield _Against(
                name=rival.name if rival else plugin,
                plugin=plugin,
                time=time,
                work=own,
                same_function="time" in here,
            )


def _elsewhere(rival: rivals.Baseline, contest: _Contest, beside: Iterable[_Contest]) -> Figures:
    """The rival's own figures in its own op, at the sizes that are those of the contest."""
    sizes = rival.sizes(dims(contest.sizes))
    name = store.sizes_name(sizes) if sizes else None
    held = [one for one in beside if (one.subject, one.sizes) == (rival.op, name)]
    # the suite of the contest first: its figures are of the same run
    held.sort(key=lambda one: (one.suite != contest.suite, one.suite))
    return next((one.figures[rival.plugin] for one in held if rival.plugin in one.figures), {})


@functools.cache
def _suite_baselines() -> Mapping[tuple[str, str], str]:
    return {
        (name, contest.op): contest.baseline
        for name in suite.names()
        for contest in suite.load(name).contests
    }


def _suite_baseline(name: str, subject: str) -> str | None:
    """None for a suite or an op that is no longer there."""
    return _suite_baselines().get((name, subject))


def _row(
    plugin: str, figures: Figures, against: Iterable[_Against], reached: rooflines.Reached
) -> Row:
    time, rate = figures["time"], figures.get("tokens_per_s")
    compulsory = rooflines.compulsory(figures)
    return {
        "plugin": plugin,
        "contract": time.contract,
        "time": {"value": time.value, "interval": [finite(time.low), finite(time.high)]},
        "tokens_per_s": rate.value if rate else None,
        "against": {
            each.plugin: _compared(time, figures, each) for each in against if each.plugin != plugin
        },
        "compulsory": compulsory,
        **_work(figures),
        **rooflines.least(time, compulsory, reached),
    }


def _compared(time: Measurement, figures: Figures, against: _Against) -> Row:
    value, interval, paired = _ratio(time, against.time)
    mine, theirs = _work(figures), _work(against.work)
    known = None not in (*mine.values(), *theirs.values())
    return {
        "name": against.name,
        "ratio": value,
        "interval": [finite(interval.low), finite(interval.high)],
        "paired": paired,
        "same_function": against.same_function,
        "flops": [mine["flops"], theirs["flops"]],
        "bytes": [mine["bytes"], theirs["bytes"]],
        "equal_work": mine == theirs if known else None,
        "note": _note(mine, theirs, same_function=against.same_function),
    }


def _note(mine: Row, theirs: Row, *, same_function: bool) -> str:
    """What a reader has to know before believing the ratio; empty when both sides do the same."""
    told = [] if same_function else ["another function"]
    for name, what in (("flops", "products"), ("bytes", "bytes")):
        if mine[name] and theirs[name] and mine[name] != theirs[name]:
            told.append(f"{mine[name] / theirs[name]:.2g}x the {what}")
    return ", ".join(told)


def _work(figures: Figures) -> Row:
    """Matrix products and bytes as they were traced; None where they were not."""
    flops, traffic = figures.get("flops"), figures.get("traffic")
    return {
        "flops": flops.value if flops else None,
        "bytes": traffic.value if traffic else None,
    }


def _ratio(a: Measurement, b: Measurement) -> tuple[float, Interval, bool]:
    """``a`` over ``b``, its 99% interval, and whether they were taken in the same rounds."""
    if a.group == b.group and len(a.samples) == len(b.samples):
        ratios = [x / y for x, y in zip(a.samples, b.samples, strict=True)]
        return median(ratios), paired_ratio(a.samples, b.samples), True
    each = 1 - (1 - CONFIDENCE) / 2
    mine, theirs = (median_interval(one.samples, each) for one in (a, b))
    low = max(mine.low, 0.0) / theirs.high
    high = mine.high / theirs.low if theirs.low > 0 else float("inf")
    return a.value / b.value, Interval(low, high), False


def _absent(
    contest: _Contest, known: Iterable[Measurement], told: Iterable[Row]
) -> Mapping[str, str]:
    """Contestants and rivals without a time, and why."""
    at = {
        name: getattr(contest, name) for name in ("machine", "suite", "subject", "sizes", "dtype")
    }
    found: dict[str, str] = {}
    for one in told:
        here = all(one[name] == value for name, value in at.items())
        if here and contest.commit.startswith(one["commit"]) and one["metric"] in UNTIMED:
            found.setdefault(one["plugin"], f"{one['outcome']}: {one['reason']}")
    at = {name: at[name] for name in ("machine", "sizes", "dtype")} | {"commit": contest.commit}
    for one in known:
        here = all(getattr(one, name) == value for name, value in at.items())
        if here and one.contract == "wrong" and rooflines.op(one) == contest.subject:
            found.setdefault(one.plugin, "wrong: its contract fails at this commit")
    return dict(sorted(found.items()))
