"""The timed gate: rounds of both sides and of the rivals, and what their paired ratios prove.

Of every plugin two kinds of figures are judged. Its own time,

    d = log(time at head / time at base)

and its speed-up over a rival that was timed in the same round, which must not fall:

    d = log(plugin / rival at head) - log(plugin / rival at base)

``turns`` takes a round, ``decision`` judges the series. How many rounds there are is settled before
the first of them: one trial round, which is no evidence, shows what a round costs, and as many are
begun as the budget holds and the settings ask for. Whether it is a good idea to time a plugin (is it
admitted, does the change reach it) was settled before this.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..engine import isolation
from ..engine.checkout import Commit
from ..engine.contest import Problem
from ..engine.metrics import METRICS
from ..engine.noise import median
from ..engine.store import sizes_name
from . import decision, turns
from .decision import Decision
from .finding import Answer, Finding
from .sides import Contested
from .turns import SIDES, Entry, Lost, Round

SPEEDUP = {"time": "speedup", "train_time": "train_speedup"}
"""What a time becomes beside a rival's."""
LARGEST = math.log(sys.float_info.max)
SILENCE = 1 / 3
"""Share of the budget for which a process may be silent before it counts as hung."""

Say = Callable[[str], None]


class Settings(Protocol):
    """What ``suites/gate.toml`` says of the clock."""

    @property
    def margin(self) -> float: ...
    @property
    def confidence(self) -> float: ...
    @property
    def rounds(self) -> int: ...


@dataclass(frozen=True)
class Cell:
    """One series that is judged: an entry by itself, or beside a rival."""

    entry: Entry
    rival: Entry | None = None


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The rounds of a run, and what was lost on the way."""

    rounds: tuple[Round, ...]
    lost: Mapping[tuple[Entry, str], Lost]
    seconds: float
    """What the trial round took."""


def clocked(
    work: Sequence[Contested],
    base: Commit,
    head: Commit,
    *,
    device: str,
    budget_s: float,
    settings: Settings,
    say: Say | None = None,
) -> list[Finding]:
    """Time ``work`` on both sides and judge every plugin of it; at least one line for each."""
    cells = list(dict.fromkeys(_cells(work)))
    if not cells:
        return []
    taken = take(cells, base, head, budget_s=budget_s, rounds=settings.rounds, say=say)
    return findings(cells, taken, settings, _target(device))


def take(
    cells: Sequence[Cell],
    base: Commit,
    head: Commit,
    *,
    budget_s: float,
    rounds: int,
    say: Say | None = None,
) -> Taken:
    """A trial round, then as many as the budget holds, at most ``rounds``."""
    began = time.monotonic()
    limit_s = min(isolation.LIMIT_S, budget_s * SILENCE)
    entries = entries_of(cells)

    def one(name: str, number: int, entries: Sequence[Entry]) -> Round:
        def tell(entry: Entry) -> None:
            if say:
                say(f"{name}: {entry.plugin} {entry.metric}")

        return turns.one_round(entries, base, head, number, limit_s=limit_s, say=tell)

    trial = one("trial round", 0, entries)
    cost = time.monotonic() - began
    lost, kept = dict(trial.lost), []
    count = max(0, min(rounds, int((budget_s - cost) / cost)))
    for number in range(count):
        if time.monotonic() - began > budget_s:
            break
        # who failed once is not asked again; who was disturbed is
        failed = {entry for (entry, _), why in lost.items() if _is_final(why)}
        left = [each for each in entries if each not in failed]
        if not left:
            break
        kept.append(one(f"round {number + 1} of {count}", number, left))
        lost |= kept[-1].lost
    return Taken(rounds=tuple(kept), lost=lost, seconds=cost)


def findings(cells: Sequence[Cell], taken: Taken, settings: Settings, target: str) -> list[Finding]:
    """A line for every cell."""
    final = {key: why for key, why in taken.lost.items() if _is_final(why)}
    out = {entry for entry, _ in final}
    judged = [each for each in cells if out.isdisjoint(filter(None, (each.entry, each.rival)))]
    decisions = decision.decide(
        {each: differences(each, taken.rounds) for each in judged},
        math.log1p(settings.margin),
        settings.confidence,
    )
    return [
        _finding(each, decisions[each], taken, settings.margin, target)
        if each in decisions
        else _lost(each, final, target)
        for each in cells
    ]


def entries_of(cells: Sequence[Cell]) -> list[Entry]:
    """What must be timed for the cells, each once."""
    every = [entry for each in cells for entry in (each.entry, each.rival) if entry]
    return list(dict.fromkeys(every))


def differences(cell: Cell, rounds: Sequence[Round]) -> list[float]:
    """The cell's series: a round in which it or its rival has no time says nothing."""
    found = []
    for each in rounds:
        own = each.timed.get(cell.entry)
        rival = each.timed.get(cell.rival) if cell.rival else None
        if own is not None and (rival is not None or cell.rival is None):
            found.append(own.difference - (rival.difference if rival else 0.0))
    return found


def _is_final(why: Lost) -> bool:
    return why.failed or why.reason != turns.BUSY


def _cells(work: Sequence[Contested]) -> Iterator[Cell]:
    for each in work:
        for plugin in each.problem.plugins:
            for metric in turns.METRICS:
                if metric not in each.problem.metrics:
                    continue
                entry = _entry(plugin, each.problem, metric)
                yield Cell(entry)
                rivals = (_entry(*rival, metric) for rival in each.baselines)
                yield from (Cell(entry, rival) for rival in rivals if rival != entry)


def _entry(plugin: str, problem: Problem, metric: str) -> Entry:
    return Entry(
        plugin=plugin,
        op=problem.op,
        sizes=sizes_name(problem.sizes),
        dtype=problem.dtype,
        device=problem.device,
        metric=metric,
        layers=problem.layers,
    )


def _finding(cell: Cell, one: Decision, taken: Taken, margin: float, target: str) -> Finding:
    base, head = _sides(cell, taken.rounds)
    sign = -1.0 if cell.rival else 1.0
    low, high = sorted((_ratio(sign * one.low), _ratio(sign * one.high)))
    return Finding(
        **_names(cell, target),
        answer=one.answer,
        why=_why(cell, one, taken, margin),
        base=base,
        head=head,
        change=_ratio(sign * one.estimate),
        low=low,
        high=high,
        smallest=_ratio(sign * one.smallest),
    )


def _names(cell: Cell, target: str) -> dict[str, Any]:
    entry = cell.entry
    return {
        "plugin": entry.plugin,
        "metric": SPEEDUP[entry.metric] if cell.rival else entry.metric,
        "unit": "x" if cell.rival else METRICS[entry.metric].unit,
        "sizes": entry.sizes,
        "dtype": entry.dtype,
        "target": target,
        "against": cell.rival.plugin if cell.rival else "",
    }


def _sides(cell: Cell, rounds: Sequence[Round]) -> tuple[float | None, float | None]:
    """Medians over the rounds: microseconds, or times faster than the rival."""
    found: list[tuple[float, float]] = []
    for each in rounds:
        own = each.timed.get(cell.entry)
        rival = each.timed.get(cell.rival) if cell.rival else None
        if own is None or (cell.rival and rival is None):
            continue
        found.append(
            (rival.base / own.base, rival.head / own.head)
            if rival
            else (own.base * 1e6, own.head * 1e6)
        )
    if not found:
        return None, None
    base, head = (median(side) for side in zip(*found, strict=True))
    return base, head


def _why(cell: Cell, one: Decision, taken: Taken, margin: float) -> str:
    what = f"the speed-up over {cell.rival.plugin}" if cell.rival else ""
    if one.answer is Answer.REGRESSION:
        verb = f"{what} falls" if cell.rival else "slower"
        return f"{verb} by more than {margin:.0%}, {one.rounds} rounds"
    if one.answer is Answer.KEEP:
        verb = f"{what} does not fall" if cell.rival else "not slower"
        return f"{verb} by more than {margin:.0%}, {one.rounds} rounds"
    if not taken.rounds:
        return f"the budget holds no round beyond the trial, which took {taken.seconds:.0f} s"
    if one.rounds < decision.FEWEST:
        busy = "; the machine was busy" if one.rounds < len(taken.rounds) else ""
        return f"{one.rounds} rounds, want at least {decision.FEWEST}{busy}"
    return (
        f"{one.rounds} rounds show neither a loss of more than {margin:.0%} nor that there is none"
    )


def _lost(cell: Cell, lost: Mapping[tuple[Entry, str], Lost], target: str) -> Finding:
    """A line for what has no time: broken by the head is a regression, mended by it is none."""
    own = {side: lost[cell.entry, side] for side in SIDES if (cell.entry, side) in lost}
    if own:
        answer, why = _blame(own)
    else:
        assert cell.rival is not None
        theirs = {side: lost[cell.rival, side] for side in SIDES if (cell.rival, side) in lost}
        failed = any(each.failed for each in theirs.values())
        answer = Answer.UNCLEAR if failed else Answer.KEEP
        side, reason = next((side, each.reason) for side, each in theirs.items())
        why = f"{cell.rival.plugin} is not timed at the {side}: {reason}"
    return Finding(**_names(cell, target), answer=answer, why=why)


def _blame(lost: Mapping[str, Lost]) -> tuple[Answer, str]:
    """Whose fault it is that a plugin has no time."""
    reasons = {side: each.reason for side, each in lost.items()}
    if len(lost) == len(SIDES):
        failed = any(each.failed for each in lost.values())
        answer = Answer.UNCLEAR if failed else Answer.KEEP
        return answer, f"not timed on either side: {reasons['head']}"
    if "head" in lost:
        answer = Answer.REGRESSION if lost["head"].failed else Answer.UNCLEAR
        return answer, f"timed at the base, not at the head: {reasons['head']}"
    return Answer.KEEP, f"timed at the head, not at the base: {reasons['base']}"


def _ratio(logarithm: float) -> float:
    # beyond it a float has no exponential
    return math.exp(logarithm) if logarithm < LARGEST else math.inf


def _target(device: str) -> str:
    from ..hardware.machine import record

    return record(device).kind
