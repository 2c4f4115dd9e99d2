"""What the measurements say of the claims: a pure function, no clock, no file, no torch.

A claim is judged case by case, a case being one problem on one machine, on the ends of a 99%
interval and never on a median. A machine never lends its figures to another, a contestant whose
contract fails has none, and the newest commit at which a case was measured speaks for it.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...engine import noise
from ...record.measurement import Measurement
from ..claims import Case
from .judgement import Judged, Judgement, State, Verdict
from .weighing import weigh

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
