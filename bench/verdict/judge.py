"""What the measurements say of the claims: a pure function, no clock, no file, no torch.

A claim is judged case by case, a case being one problem on one machine, on the ends of a 99%
interval and never on a median. A machine never lends its figures to another, a contestant whose
contract fails has none, and the newest commit at which a case was measured speaks for it.

    case       refuted when the interval lies outside the bounds, confirmed when inside, else
               inconclusive
    machine    one refuted case refutes, only a clean sweep confirms
    claim      broken anywhere, else refuted anywhere, else confirmed anywhere, else inconclusive

A case that was confirmed and is refuted now has stopped holding, at the first commit that refuted it
for good. A commit is named only where nothing but the commit differs: a claim that held with another
software stack, or at another budget of the task, stopped holding with what it is measured with now.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any

from ..engine import metrics, noise
from ..record.measurement import Measurement
from .claims import Case, Claim, axes_of
from .history.points import fails


class State(StrEnum):
    """What may be said of a claim, worst first."""

    BROKEN = "broken"
    UNTESTED = "untested"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    CONFIRMED = "confirmed"


class Verdict(StrEnum):
    """What may be said of a proposal."""

    PROCEED = "PROCEED"
    ABANDON = "ABANDON"
    DEBUG = "DEBUG"
    INCONCLUSIVE = "INCONCLUSIVE"
    UNTESTED = "UNTESTED"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One case: the compared figure, its interval and what it makes of the claim."""

    machine: str
    kind: str
    sizes: str
    dtype: str
    commit: str
    committed: str
    value: float
    low: float
    high: float
    state: State
    position: int = 0
    """Of the commit in the history that the measurements were read with."""
    software: str = ""
    settings: str = ""

    @property
    def moment(self) -> tuple[int, str, str]:
        """The commit's place in the order of history, as a measurement has it."""
        return self.position, self.committed, self.commit


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim and the cases that speak about it."""

    claim: Claim
    state: State
    evidence: tuple[Evidence, ...]
    """The newest of every case, the one that decides first."""
    broken: str | None = None
    """Plugin and machine of the contract that fails, and the commit since which it does."""
    stopped: str | None = None
    """``since`` the commit at which the claim stopped holding on some machine, or ``with`` what."""

    def facts(self) -> dict[str, Any]:
        """The claim as one row of ``madbench judge --json``; ends without bound are null."""
        first = self.evidence[0] if self.evidence else None
        return {
            "id": self.claim.id,
            "says": self.claim.says,
            "role": str(self.claim.role),
            "state": str(self.state),
            "metric": self.claim.metric,
            "comparison": self.claim.comparison,
            "bounds": dict(self.claim.bounds),
            "value": _finite(first.value) if first else None,
            "interval": [_finite(first.low), _finite(first.high)] if first else None,
            "machine": first.machine if first else None,
            "commit": first.commit if first else None,
            "reported": [dict(report) for report in self.claim.reported],
            "source": self.claim.source,
            "evidence": [_shown(one) for one in self.evidence],
        }


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on a proposal, the rule that gave it and what would settle the rest."""

    proposal: str
    verdict: Verdict
    rule: str
    """Name of the rule in ``RULES`` and, behind a colon, what it applied to."""
    missing: tuple[Mapping[str, Any], ...]
    """Success claims that no machine has settled: claim, machines, and why."""
    claims: tuple[Judged, ...]

    def facts(self) -> dict[str, Any]:
        """The proposal as one entry of ``madbench judge --json``."""
        return {
            "verdict": str(self.verdict),
            "rule": self.rule,
            "missing": [dict(one) for one in self.missing],
            "claims": [judged.facts() for judged in self.claims],
        }


RULES = {
    "no-claims": "no claims file stands in suites/claims",
    "contract-broken": "a contestant of a success or kill claim fails its contract",
    "control-misbehaves": "a model known to be good failed, or one known to be bad passed",
    "stopped-holding": "a claim that held at an earlier commit, or with another stack, is refuted",
    "kill-confirmed": "a kill claim is confirmed",
    "success-refuted": "a success claim is refuted",
    "success-confirmed": "every success claim is confirmed and no kill claim is",
    "nothing-measured": "no success or kill claim has been measured",
    "part-unmeasured": "some success claims are not measured, none is refuted",
    "interval-straddles": "an interval lies on both sides of a bound",
}

CASE = ("sizes", "dtype", "software", "settings")
"""What is compared with each other on one machine at one commit."""

Controls = Mapping[str, Mapping[str, str]]
"""Task to control to ``ok`` or what it did wrong."""


def judge_all(
    cases: Mapping[str, Case],
    measurements: Iterable[Measurement],
    *,
    proposals: Collection[str] = (),
    controls: Controls | None = None,
) -> dict[str, Judgement]:
    """Every proposal by number; those without a claims file are untested."""
    known = list(measurements)
    numbers = sorted({*proposals, *cases})
    return {
        number: judge(cases[number], known, controls=controls or {})
        if number in cases
        else _without_claims(number)
        for number in numbers
    }


def judge(case: Case, measurements: Iterable[Measurement], *, controls: Controls) -> Judgement:
    """The verdict on one proposal; the order of the measurements does not matter."""
    known = list(measurements)
    judged = tuple(weigh(claim, known) for claim in case.claims)
    verdict, rule = _verdict(judged, _misbehaving(judged, controls))
    return Judgement(
        proposal=case.proposal,
        verdict=verdict,
        rule=rule,
        missing=tuple(_missing(judged)),
        claims=judged,
    )


def weigh(claim: Claim, measurements: Sequence[Measurement]) -> Judged:
    """The state of one claim and the evidence for it."""
    covered = [one for one in measurements if _speaks(claim, one)]
    contracts = [one for one in measurements if _speaks_of_contract(claim, one)]
    cases = _cases(claim, [one for one in covered if one.metric == claim.metric])
    machines = {one.machine for one in [*covered, *contracts]}
    per_machine = {name: _on_machine(name, cases, contracts) for name in sorted(machines)}
    states = [state for state, _, _, _ in per_machine.values()]
    order = (State.BROKEN, State.REFUTED, State.CONFIRMED, State.INCONCLUSIVE)
    state = next((each for each in order if each in states), State.UNTESTED)
    newest = [one for _, evidence, _, _ in per_machine.values() for one in evidence]
    decisive = sorted(newest, key=lambda one: (one.state is not state, _margin(one, claim)))
    return Judged(
        claim=claim,
        state=state,
        evidence=tuple(decisive),
        broken=next((broken for _, _, broken, _ in per_machine.values() if broken), None),
        stopped=next((stopped for _, _, _, stopped in per_machine.values() if stopped), None),
    )


def _speaks(claim: Claim, one: Measurement) -> bool:
    """Whether the measurement is of a contestant, within the scope, and come by as the metric is."""
    return (
        one.plugin in (claim.plugin, claim.against)
        and claim.covers(machine=(one.kind, one.machine), dtype=one.dtype, sizes=one.sizes)
        and one.modelled == metrics.METRICS[one.metric].modelled
    )


def _speaks_of_contract(claim: Claim, one: Measurement) -> bool:
    """Whether it tells of a contestant's contract on such a machine, on whatever problem."""
    if one.plugin not in (claim.plugin, claim.against):
        return False
    if not claim.covers_machine((one.kind, one.machine)):
        return False
    return fails(one) or one.metric == "contract" or _speaks(claim, one)


def _has_figures(one: Measurement) -> bool:
    return bool(one.samples) and all(map(math.isfinite, one.samples))


def _cases(claim: Claim, measurements: Iterable[Measurement]) -> list[Evidence]:
    """Every comparison that the measurements allow, at every commit."""
    usable = [one for one in measurements if one.contract == "ok" and _has_figures(one)]
    if claim.comparison == "slope":
        return _slopes(claim, usable)
    found = []
    for _, problem in _grouped(usable, ("machine", *CASE, "commit")):
        ours = [one for one in problem if one.plugin == claim.plugin]
        theirs = [one for one in problem if one.plugin == claim.against]
        if claim.against is None:
            found += [_evidence(claim, one, *_alone(one)) for one in ours]
        else:
            found += [_evidence(claim, a, *_compared(claim, a, b)) for a, b in _pairs(ours, theirs)]
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
    for _, one_commit in _grouped(
        measurements, ("machine", "dtype", "software", "settings", "commit")
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
                found.append(_evidence(claim, any_one, *_slope(line), sizes=rest))
    return found


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
    )


def _state(low: float, high: float, bounds: Mapping[str, float]) -> State:
    most = min(bounds.get("at_most", math.inf), bounds.get("equals", math.inf))
    least = max(bounds.get("at_least", -math.inf), bounds.get("equals", -math.inf))
    if low > most or high < least:
        return State.REFUTED
    return State.CONFIRMED if low >= least and high <= most else State.INCONCLUSIVE


def _on_machine(
    machine: str, cases: Iterable[Evidence], contracts: Iterable[Measurement]
) -> tuple[State, list[Evidence], str | None, str | None]:
    """State, the newest evidence, what is broken, and since when the claim has stopped."""
    here = [one for one in cases if one.machine == machine]
    newest = _newest(here)
    broken = _broken([one for one in contracts if one.machine == machine])
    if broken:
        return State.BROKEN, [], broken, _stopped(here)
    return _sweep(newest), newest, None, _stopped(here)


def _newest(cases: Iterable[Evidence]) -> list[Evidence]:
    """Of every problem the comparisons at its newest commit."""
    found = []
    for _, history in _grouped(cases, ("sizes", "dtype")):
        last = _last_commit(history)
        found += [one for one in history if one.commit == last]
    return found


def _last_commit(history: Iterable[Evidence | Measurement]) -> str:
    return max(one.moment for one in history)[-1]


def _sweep(cases: Sequence[Evidence]) -> State:
    states = {one.state for one in cases}
    if not states:
        return State.UNTESTED
    if State.REFUTED in states:
        return State.REFUTED
    return State.CONFIRMED if states == {State.CONFIRMED} else State.INCONCLUSIVE


def _broken(contracts: Iterable[Measurement]) -> str | None:
    """The contestant whose contract failed when it was last looked at, and the commit since which."""
    for (plugin,), history in _grouped(contracts, ("plugin",)):
        commits = sorted({one.moment for one in history})
        wrong = {one.moment for one in history if fails(one)}
        whole = [i for i, moment in enumerate(commits) if moment not in wrong]
        first = whole[-1] + 1 if whole else 0
        if first < len(commits):
            return f"{plugin} on {history[0].machine} since {commits[first][-1][:8]}"
    return None


def _stopped(cases: Sequence[Evidence]) -> str | None:
    """What stopped the first case that was once confirmed and is refuted for good."""
    found = []
    for _, history in _grouped(cases, ("sizes", "dtype")):
        last = max(one.moment for one in history)
        held = any(one.state is State.CONFIRMED for one in history if one.moment < last)
        for _, line in _grouped(history, ("software", "settings")):
            refuted = [one for one in line if one.moment == last and one.state is State.REFUTED]
            if held and refuted:
                found.append(_lost(line))
    return min(found)[1] if found else None


def _lost(line: Sequence[Evidence]) -> tuple[tuple[int, str, str], str]:
    """When a case was refuted for good, and with what: a commit only where it held before, all else alike."""
    moments = sorted({one.moment for one in line})
    states = [_sweep([one for one in line if one.moment == moment]) for moment in moments]
    held = [i for i, state in enumerate(states) if state is State.CONFIRMED]
    lost = moments[states.index(State.REFUTED, held[-1] if held else 0)]
    if held:
        return lost, f"since {lost[-1]}"
    what = f"settings {line[0].settings}" if line[0].settings else line[0].software
    return lost, f"with {what}, at {lost[-1]}"


def _verdict(judged: Sequence[Judged], misbehaving: str | None) -> tuple[Verdict, str]:
    success = [one for one in judged if one.claim.role == "success"]
    kill = [one for one in judged if one.claim.role == "kill"]

    def first(group: Iterable[Judged], state: State) -> Judged | None:
        return next((one for one in group if one.state is state), None)

    if one := first([*success, *kill], State.BROKEN):
        return Verdict.DEBUG, f"contract-broken: {one.broken}"
    if misbehaving:
        return Verdict.DEBUG, f"control-misbehaves: {misbehaving}"
    if stopped := next((one for one in success if one.stopped), None):
        return Verdict.DEBUG, f"stopped-holding: {stopped.claim.id} {stopped.stopped}"
    if one := first(kill, State.CONFIRMED):
        return Verdict.ABANDON, f"kill-confirmed: {one.claim.id}"
    if one := first(success, State.REFUTED):
        return Verdict.ABANDON, f"success-refuted: {one.claim.id}"
    if success and all(one.state is State.CONFIRMED for one in success):
        return Verdict.PROCEED, "success-confirmed"
    if all(one.state is State.UNTESTED for one in [*success, *kill]):
        return Verdict.UNTESTED, "nothing-measured"
    if one := first(success, State.INCONCLUSIVE):
        return Verdict.INCONCLUSIVE, f"interval-straddles: {one.claim.id}"
    return Verdict.INCONCLUSIVE, "part-unmeasured"


def _misbehaving(judged: Iterable[Judged], controls: Controls) -> str | None:
    """The first control that did wrong on a task for which a success or kill claim has evidence."""
    for one in judged:
        if one.claim.role == "background":
            continue
        for task in sorted({evidence.sizes for evidence in one.evidence} & set(controls)):
            for control, outcome in sorted(controls[task].items()):
                if outcome != "ok":
                    return f"{control} on {task}: {outcome}"
    return None


def _missing(judged: Iterable[Judged]) -> Iterator[dict[str, Any]]:
    for one in judged:
        if one.claim.role != "success" or one.state in (State.CONFIRMED, State.REFUTED):
            continue
        wanted = one.claim.where.get("machine", ["any"])
        seen = {name for each in one.evidence for name in (each.kind, each.machine)}
        named = [wanted] if isinstance(wanted, str) else list(wanted)
        reason = f"fails its contract: {one.broken}" if one.broken else str(one.state)
        if any(math.isinf(each.low) or math.isinf(each.high) for each in one.evidence):
            reason = f"too few samples, want at least {noise.samples_needed()}"
        yield {
            "claim": one.claim.id,
            "machine": [name for name in named if name not in seen] or named,
            "reason": reason,
        }


def _without_claims(number: str) -> Judgement:
    missing = {"claim": None, "machine": None, "reason": RULES["no-claims"]}
    return Judgement(
        proposal=number, verdict=Verdict.UNTESTED, rule="no-claims", missing=(missing,), claims=()
    )


def _grouped(things: Iterable[Any], names: Sequence[str]) -> Iterator[tuple[Any, list[Any]]]:
    def key(thing: Any) -> tuple[Any, ...]:
        return tuple(getattr(thing, name) for name in names)

    # sorted by everything, so that the outcome does not depend on the order of the input
    ordered = sorted(things, key=lambda thing: (key(thing), repr(thing)))
    for found, members in groupby(ordered, key):
        yield found, list(members)


def _margin(one: Evidence, claim: Claim) -> tuple[float, str]:
    """Distance of the interval from the nearest bound; the narrowest case is shown first."""
    ends = [abs(end - bound) for end in (one.low, one.high) for bound in claim.bounds.values()]
    return min(ends), repr(one)


def _shown(one: Evidence) -> dict[str, Any]:
    return {
        "machine": one.machine,
        "sizes": one.sizes,
        "dtype": one.dtype,
        "commit": one.commit,
        "value": _finite(one.value),
        "interval": [_finite(one.low), _finite(one.high)],
        "state": str(one.state),
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
