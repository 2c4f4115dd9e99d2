"""The verdicts as they stand: claims, controls and all stored measurements brought to the judge."""

from dataclasses import replace
from pathlib import Path

from impl import registry
from suites import catalogue

from ..engine import record, store, suite
from ..lab import tryout
from . import claims, judge, missing


def measurements(results: Path | None = None) -> list[record.Measurement]:
    """Everything below ``results``, or all that is stored, figures of uncommitted code included."""
    folders = [results] if results else store.folders()
    return [one for folder in folders for one in record.read_all(folder)]


def judgements(results: Path | None = None) -> dict[str, judge.Judgement]:
    """The judgement on every proposal, with the suite that would settle each open claim."""
    cases = claims.load_all(plugins=registry.index())
    known = measurements(results)
    judged = judge.judge_all(
        cases,
        known,
        proposals=catalogue.names("proposals"),
        controls=controls(known),
    )
    suites = [suite.load(name) for name in suite.names()]
    return {
        number: replace(one, missing=tuple(_settled_by(cases[number], one, suites)))
        if number in cases
        else one
        for number, one in judged.items()
    }


def controls(known: list[record.Measurement]) -> dict[str, dict[str, str]]:
    """Task to control to ``ok``, or what it did wrong on some machine."""
    found: dict[str, dict[str, str]] = {}
    for machine in sorted({one.machine for one in known}):
        here = tryout.controls_of(one for one in known if one.machine == machine)
        for task, outcomes in here.items():
            worst = found.setdefault(task, {})
            for mixer, outcome in outcomes.items():
                worst[mixer] = outcome if worst.get(mixer, "ok") == "ok" else worst[mixer]
    return found


def _settled_by(
    case: claims.Case, judgement: judge.Judgement, suites: list[suite.Suite]
) -> list[dict[str, object]]:
    by_id = {claim.id: claim for claim in case.claims}
    found = []
    for lack in judgement.missing:
        offers = missing.suites_for(by_id[lack["claim"]], suites)
        name, seconds = offers[0] if offers else (None, None)
        found.append({**lack, "suite": name, "seconds": seconds})
    return found
