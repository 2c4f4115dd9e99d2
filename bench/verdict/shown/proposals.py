"""Proposals as the site shows them: the verdict, its claims with their evidence, and reruns."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from suites import catalogue

from ...engine import metrics, runner, suite
from ...record.json_value import finite
from .. import claims, missing
from ..history.turns import Turn
from ..judging.judgement import Evidence, Judged, Judgement, State
from .paths import from_root

Row = dict[str, Any]
SAID = ("status", "priority", "hypothesis", "reported", "contradictions", "lessons", "notes")
"""What the catalogue says of a proposal and the site repeats."""


def proposals(judged: Mapping[str, Judgement], turned: Mapping[str, Sequence[Turn]]) -> list[Row]:
    """Every proposal of the catalogue, then every goal, in order, with the turns of its verdict, oldest first."""
    cases = claims.load_all()
    suites = [suite.load(name) for name in suite.names()]
    found = []
    for number, entry in catalogue.judged().items():
        judgement = judged[number]
        case = cases.get(number)
        rows = [_claim(each, suites) for each in judgement.claims]
        shown = [one for row in rows if row["role"] != "background" for one in row["evidence"]]
        found.append(
            {"id": number, "title": entry.get("title"), "family": entry["family"]}
            | {name: entry[name] for name in SAID if name in entry}
            | {
                "verdict": str(judgement.verdict),
                "rule": judgement.rule,
                "missing": [dict(one) for one in judgement.missing],
                "turns": [turn.facts() for turn in turned.get(number, ())],
                "claims": rows,
                "claims_file": from_root(case.file) if case else None,
                "plugins": list(case.needs) if case else [],
                "rerun": list(_rerun_all(case, suites)) if case else [],
                "reproduced": _reproduced(rows, entry),
                "machines": sorted({one["machine"] for one in shown}),
                "committed": max((one["committed"] for one in shown), default=None),
            }
        )
    return found


def _reproduced(rows: Iterable[Row], entry: Mapping[str, Any]) -> dict[str, int] | None:
    """Of the claims about which a result was reported, how many came out how; None without any.

    That something was implemented or awaited is a status, hence no result.
    """
    statuses = {
        (one["entry"], one["value"])
        for one in entry.get("reported", ())
        if one["metric"] == "status"
    }
    states = [
        row["state"]
        for row in rows
        if any((one.get("entry"), one["value"]) not in statuses for one in row["reported"])
    ]
    return {state: states.count(state) for state in State if state in states} or None


def _claim(judged: Judged, suites: Iterable[suite.Suite]) -> Row:
    claim, unit = judged.claim, metrics.METRICS[judged.claim.metric].unit
    return {
        **judged.facts(),
        "unit": {"ratio": "x", "slope": f"per log {claim.over}"}.get(claim.comparison, unit),
        "plugin": claim.plugin,
        "against": claim.against,
        "over": claim.over,
        "where": dict(claim.where),
        "modelled": metrics.METRICS[claim.metric].modelled,
        "broken": judged.broken,
        "stopped": judged.stopped,
        "evidence": [_case(one) for one in judged.evidence],
        "rerun": list(_reruns(judged, suites)),
    }


def _case(one: Evidence) -> Row:
    return {
        "machine": one.machine,
        "kind": one.kind,
        "sizes": one.sizes,
        "dtype": one.dtype,
        "commit": one.commit,
        "committed": one.committed,
        "value": finite(one.value),
        "interval": [finite(one.low), finite(one.high)],
        "state": str(one.state),
    }


def _rerun_all(case: claims.Case, suites: Sequence[suite.Suite]) -> Iterator[str]:
    """Commands that train again whatever the proposal's claims need, and that compare the record."""
    trained = [
        claim for claim in case.claims if metrics.METRICS[claim.metric].way is metrics.Way.TRAINING
    ]
    names = Counter(name for claim in trained for name, _ in missing.suites_for(claim, suites))
    # the suite that settles most of the claims
    for name in sorted(names, key=lambda name: (-names[name], name))[:1]:
        yield f"madbench run --suite {name} --proposal {case.proposal}"
        yield f"madbench reproduce {case.proposal}"


def _reruns(judged: Judged, suites: Iterable[suite.Suite]) -> Iterator[str]:
    """Commands that take the decisive figures again, or, where there are none, those that would."""
    claim, first = judged.claim, next(iter(judged.evidence), None)
    offers = missing.suites_for(claim, suites)
    if metrics.METRICS[claim.metric].way is metrics.Way.TRAINING:
        tasks = claim.where.get("task", [])
        for task in [tasks] if isinstance(tasks, str) else tasks:
            yield from (f"python -m bench.lab.tryout {name} {task}" for name, _ in offers[:1])
    elif first is None or claim.metric not in runner.KERNEL or claim.comparison == "slope":
        yield from (f"madbench run --suite {name} --budget 600" for name, _ in offers[:1])
    else:
        for plugin in filter(None, (claim.plugin, claim.against)):
            where = f"--sizes {first.sizes} --dtype {first.dtype} --machine {first.kind}"
            yield f"madbench measure {plugin} --metric {claim.metric} {where}"
