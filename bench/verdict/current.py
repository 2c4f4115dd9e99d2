"""The verdicts as they stand: claims, controls and all stored measurements brought to the judge."""

from dataclasses import replace
from pathlib import Path

from impl import registry
from suites import catalogue

from ..engine import store, suite
from ..lab import tryout_record
from ..record import results_folder
from ..record.measurement import History, Measurement
from . import claims, missing
from .history import turns
from .history.ancestry import ancestry
from .judging import judge
from .judging.judgement import Judgement


def measurements(
    results: Path | None = None, history: History | None = None, *, aside: bool = False
) -> list[Measurement]:
    """Everything below ``results``, in the order of ``history`` where that is given.

    By default all that is stored, figures of uncommitted code included, in the order of this
    repository. A folder named by hand is taken at its word: it may be of another repository.
    ``aside`` are the figures of machines and rivals instead, which the site alone asks for.
    """
    here = registry.index()
    if results:
        return results_folder.read_all(results, history, here, aside=aside)
    history = ancestry(store.TREE)
    return [
        one
        for folder in store.folders()
        for one in results_folder.read_all(folder, history, here, aside=aside)
    ]


def judgements(
    results: Path | None = None, *, known: list[Measurement] | None = None
) -> dict[str, Judgement]:
    """The judgement on every proposal, with the suite that would settle each open claim.

    ``known`` is what ``measurements`` has read, where that is at hand.
    """
    cases = claims.load_all(plugins=registry.index())
    known = measurements(results) if known is None else known
    judged = judge.judge_all(
        cases,
        known,
        proposals=catalogue.judged_names(),
        controls=controls(known),
    )
    suites = [suite.load(name) for name in suite.names()]
    return {
        number: replace(one, missing=tuple(_settled_by(cases[number], one, suites)))
        if number in cases
        else one
        for number, one in judged.items()
    }


def turned(known: list[Measurement]) -> dict[str, list[turns.Turn]]:
    """The turns of the verdict on every proposal with claims."""
    cases = claims.load_all(plugins=registry.index())
    return turns.turns(cases, known, controls=controls)


def controls(known: list[Measurement]) -> dict[str, dict[str, str]]:
    """Task to control to ``ok``, or what it did wrong on some machine."""
    found: dict[str, dict[str, str]] = {}
    for machine in sorted({one.machine for one in known}):
        here = tryout_record.controls_of(one for one in known if one.machine == machine)
        for task, outcomes in here.items():
            worst = found.setdefault(task, {})
            for mixer, outcome in outcomes.items():
                worst[mixer] = outcome if worst.get(mixer, "ok") == "ok" else worst[mixer]
    return found


def _settled_by(
    case: claims.Case, judgement: Judgement, suites: list[suite.Suite]
) -> list[dict[str, object]]:
    by_id = {claim.id: claim for claim in case.claims}
    found = []
    for lack in judgement.missing:
        offers = missing.suites_for(by_id[lack["claim"]], suites)
        name, seconds = offers[0] if offers else (None, None)
        found.append({**lack, "suite": name, "seconds": seconds})
    return found
