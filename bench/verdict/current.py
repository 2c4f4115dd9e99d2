"""The verdicts as they stand: claims, controls and all stored measurements brought to the judge."""

from dataclasses import replace
from pathlib import Path

from impl import registry
from suites import catalogue

from ..engine import record, store, suite
from . import claims, controls, judge, missing


def measurements(results: Path | None = None) -> list[record.Measurement]:
    """Everything below ``results``, or all that is stored, figures of uncommitted code included."""
    folders = [results] if results else [claims.ROOT / "results", store.UNCOMMITTED]
    return [one for folder in folders for one in record.read_all(folder)]


def judgements(results: Path | None = None) -> dict[str, judge.Judgement]:
    """The judgement on every proposal, with the suite that would settle each open claim."""
    cases = claims.load_all(plugins=registry.index())
    known = measurements(results)
    judged = judge.judge_all(
        cases,
        known,
        proposals=catalogue.names("proposals"),
        controls=controls.from_measurements(known),
    )
    suites = [suite.load(name) for name in suite.names()]
    return {
        number: replace(one, missing=tuple(_settled_by(cases[number], one, suites)))
        if number in cases
        else one
        for number, one in judged.items()
    }


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
