"""Weighing: the state of one claim, from all that was measured of it, the newest commit first.

    case       refuted when the interval lies outside the bounds, confirmed when inside, else
               inconclusive; a binary for each card is a case of its own
    machine    one refuted case refutes, only a clean sweep confirms
    claim      broken anywhere, else refuted anywhere, else confirmed anywhere, else inconclusive

A case that was confirmed and is refuted now has stopped holding, at the first commit that refuted it
for good. A commit is named only where nothing but the commit differs: a claim that held with another
software stack, or at another budget of the task, stopped holding with what it is measured with now.
"""

from collections.abc import Iterable, Sequence

from ...record.measurement import Measurement
from ..claims import Claim
from ..history.points import fails
from .comparison import comparisons, grouped, speaks, speaks_of_contract
from .judgement import Evidence, Judged, State


def weigh(claim: Claim, measurements: Sequence[Measurement]) -> Judged:
    """The state of one claim and the evidence for it."""
    covered = [one for one in measurements if speaks(claim, one)]
    contracts = [one for one in measurements if speaks_of_contract(claim, one)]
    cases = comparisons(claim, [one for one in covered if one.metric == claim.metric])
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
    for _, history in grouped(cases, ("kind", "sizes", "dtype")):
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
    for (plugin,), history in grouped(contracts, ("plugin",)):
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
    for _, history in grouped(cases, ("kind", "sizes", "dtype")):
        last = max(one.moment for one in history)
        held = any(one.state is State.CONFIRMED for one in history if one.moment < last)
        for _, line in grouped(history, ("software", "settings", "knobs")):
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
    what = f"{what}, {line[0].knobs}" if line[0].knobs else what
    return lost, f"with {what}, at {lost[-1]}"


def _margin(one: Evidence, claim: Claim) -> tuple[float, str]:
    """Distance of the interval from the nearest bound; the narrowest case is shown first."""
    ends = [abs(end - bound) for end in (one.low, one.high) for bound in claim.bounds.values()]
    return min(ends), repr(one)
