"""What the site shows, as plain values: a pure function of the results and of this tree.

No clock and nothing of the machine that publishes is read, so that the same results give the same
bytes wherever and whenever the site is built.
"""

import ast
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from impl import registry
from suites import catalogue

from ..engine import metrics, runner, suite
from ..engine.record import Measurement, subject_of
from . import claims, judge, missing

Row = dict[str, Any]
SAID = ("status", "priority", "hypothesis", "reported", "contradictions", "lessons", "notes")
"""What the catalogue says of a proposal and the site repeats."""


def contents(
    results: Path, known: Sequence[Measurement], judged: Mapping[str, judge.Judgement]
) -> Row:
    """Everything: proposals with verdicts, plugins, machines, and one page an op or task."""
    index = registry.index()
    reasons = list(_reasons(results))
    return {
        "rules": dict(judge.RULES),
        "metrics": {name: _metric(metric) for name, metric in metrics.METRICS.items()},
        "proposals": proposals(judged),
        "plugins": {each.id: _plugin(each, known, reasons) for each in index.values()},
        "files": {_file(each): each.file.read_text() for each in index.values() if _ours(each)},
        "machines": machines(results, known),
        "tables": tables(known, reasons),
    }


def proposals(judged: Mapping[str, judge.Judgement]) -> list[Row]:
    """Every proposal of the catalogue, in order."""
    cases = claims.load_all()
    suites = [suite.load(name) for name in suite.names()]
    found = []
    for number, entry in catalogue.proposals().items():
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
                "claims": rows,
                "claims_file": _shown(case.file) if case else None,
                "plugins": list(case.needs) if case else [],
                "reproduced": _reproduced(rows),
                "machines": sorted({one["machine"] for one in shown}),
                "committed": max((one["committed"] for one in shown), default=None),
            }
        )
    return found


def _reproduced(rows: Iterable[Row]) -> dict[str, int] | None:
    """Of the claims about which a figure was reported, how many came out how; None without any."""
    states = [row["state"] for row in rows if row["reported"]]
    return {state: states.count(state) for state in judge.State if state in states} or None


def _claim(judged: judge.Judged, suites: Iterable[suite.Suite]) -> Row:
    claim, unit = judged.claim, metrics.METRICS[judged.claim.metric].unit
    evidence = [
        {
            "machine": one.machine,
            "kind": one.kind,
            "sizes": one.sizes,
            "dtype": one.dtype,
            "commit": one.commit,
            "committed": one.committed,
            "value": _finite(one.value),
            "interval": [_finite(one.low), _finite(one.high)],
            "state": str(one.state),
        }
        for one in judged.evidence
    ]
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
        "evidence": evidence,
        "rerun": list(_reruns(judged, suites)),
    }


def _reruns(judged: judge.Judged, suites: Iterable[suite.Suite]) -> Iterator[str]:
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


def _metric(metric: metrics.Metric) -> Row:
    names = ("unit", "says", "modelled", "exact", "higher_is_better")
    return {name: getattr(metric, name) for name in names} | {"way": str(metric.way)}


def _plugin(plugin: registry.Plugin, known: Iterable[Measurement], reasons: Iterable[Row]) -> Row:
    names = ("kind", "op", "trick", "backend", "source", "line")
    row: Row = {name: getattr(plugin, name) for name in names}
    row |= {
        "needs": list(plugin.needs),
        "accepts": dict(plugin.accepts),
        "knobs": {name: list(values) for name, values in plugin.knobs.items()},
        "excuses": dict(plugin.excuses),
        "file": _file(plugin),
        "about": ast.get_docstring(ast.parse(plugin.file.read_text())) or plugin.doc,
    }
    return row | {"contract": list(_contracts(plugin.id, known, reasons))}


def _contracts(plugin: str, known: Iterable[Measurement], reasons: Iterable[Row]) -> Iterator[Row]:
    """Per machine the newest commit at which the contract was checked, and how it ended."""
    checked = [one for one in known if _base(one.plugin) == plugin and one.contract != "not run"]
    for name in sorted({one.machine for one in checked}):
        here = [one for one in checked if one.machine == name]
        newest = max((one.committed, one.commit) for one in here)[1]
        wrong = any(one.contract == "wrong" for one in here if one.commit == newest)
        said = [
            each["reason"]
            for each in reasons
            if (each["machine"], _base(each["plugin"])) == (name, plugin)
            and newest.startswith(each["commit"])
            and each["outcome"] == "wrong"
        ]
        outcome = "wrong" if wrong else "ok"
        reason = min(said) if wrong and said else None
        yield {"machine": name, "commit": newest, "outcome": outcome, "reason": reason}


def machines(results: Path, known: Iterable[Measurement]) -> Row:
    """Every named machine as asv recorded it, with the commits and software measured there."""
    found: Row = {}
    for file in sorted(results.glob("*/machine.json")):
        facts = {name: value for name, value in json.loads(file.read_text()).items() if value}
        facts.pop("version", None)
        found[file.parent.name] = {"facts": facts, "runs": []}
    runs: dict[tuple[str, str, str, str], int] = {}
    for one in known:
        stack = ", ".join(f"{name} {version}" for name, version in sorted(one.stack.items()))
        run = (one.machine, one.committed, one.commit, stack)
        runs[run] = runs.get(run, 0) + 1
    for (name, committed, commit, stack), count in sorted(runs.items(), reverse=True):
        here = found.setdefault(name, {"facts": {"machine": name}, "runs": []})
        row = {"committed": committed, "commit": commit, "stack": stack, "figures": count}
        here["runs"].append(row)
    return found


def tables(known: Sequence[Measurement], reasons: Sequence[Row]) -> list[Row]:
    """One table an op or task, machine, suite, sizes and dtype, at its newest commit only."""
    wrong = {(_base(one.plugin), one.commit) for one in known if one.contract == "wrong"}
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for one in known:
        key = (_subject(one), one.kind, one.machine, one.suite, one.sizes, one.dtype)
        groups.setdefault(key, []).append(one)
    found = []
    for key, members in sorted(groups.items()):
        committed, commit = max((one.committed, one.commit) for one in members)
        here = [one for one in members if one.commit == commit]
        names = ("subject", "kind", "machine", "suite", "sizes", "dtype")
        table: Row = dict(zip(names, key, strict=True))
        table |= {"commit": commit, "committed": committed}
        said = [one for one in reasons if _about(one, table)]
        broken = {plugin for plugin, at in wrong if at == commit}
        broken |= {_base(one["plugin"]) for one in said if one["outcome"] == "wrong"}
        who = sorted({one.plugin for one in here} | {one["plugin"] for one in said})
        table["rows"] = [
            _contestant(each, here, said, is_broken=_base(each) in broken) for each in who
        ]
        shown = {name for row in table["rows"] for name in row["figures"]}
        table["columns"] = [name for name in metrics.METRICS if name in shown]
        table |= _history([one for one in members if (_base(one.plugin), one.commit) not in wrong])
        found.append(table)
    return found


def _history(members: Iterable[Measurement]) -> Row:
    """Commits in order, and metric to plugin to place, value and interval at every one of them."""
    shown = [
        one
        for one in members
        if one.metric != "contract" and (one.contract == "ok" or _compiled(one))
    ]
    commits = sorted({(one.committed, one.commit) for one in shown})
    series: dict[str, dict[str, list[list[float | None]]]] = {}
    for one in sorted(shown, key=lambda one: (one.plugin, one.committed, one.commit)):
        if math.isfinite(one.value) and len(commits) > 1:
            at = commits.index((one.committed, one.commit))
            point = [at, one.value, _finite(one.low), _finite(one.high)]
            series.setdefault(one.metric, {}).setdefault(one.plugin, []).append(point)
    return {"commits": [[commit, committed] for committed, commit in commits], "history": series}


def _contestant(
    plugin: str, here: Iterable[Measurement], said: Iterable[Row], *, is_broken: bool
) -> Row:
    """Figures, or the outcome in their place: nothing is shown of what fails its contract."""
    mine = [one for one in here if one.plugin == plugin]
    why = [one for one in said if one["plugin"] == plugin]
    checked = any(one.contract == "ok" for one in mine)
    # what was compiled is no figure of a run: its contract is checked where it runs
    may_show = not is_broken and (checked or all(_compiled(one) for one in mine))
    outcome = "wrong" if is_broken else "ok" if checked else "not run"
    if not mine:
        outcome = "wrong" if is_broken else min((one["outcome"] for one in why), default="not run")
    shown = {
        one.metric: {
            "value": one.value,
            "interval": [_finite(one.low), _finite(one.high)],
            "samples": len(one.samples),
        }
        for one in mine
        if one.metric != "contract" and may_show and math.isfinite(one.value)
    }
    reasons = [{name: one[name] for name in ("metric", "outcome", "reason")} for one in why]
    return {"plugin": plugin, "contract": outcome, "figures": shown, "reasons": reasons}


def _about(reason: Row, table: Row) -> bool:
    names = ("machine", "suite", "sizes", "dtype")
    same = all(reason[name] == table[name] for name in names) and not table["kind"].startswith("sm")
    return (
        same
        and reason["subject"] == table["subject"]
        and table["commit"].startswith(reason["commit"])
    )


def _reasons(results: Path) -> Iterator[Row]:
    """Why figures are missing, from the files that lie beside them; a line half written is skipped."""
    for file in sorted(results.glob("*/*.outcomes.jsonl")):
        for text in file.read_text().splitlines():
            try:
                line = json.loads(text)
                suite_name, group = line["group"]
                subject, sizes, dtype = group.split(" ")
            except (ValueError, KeyError, TypeError):
                continue
            place = {"subject": subject, "sizes": sizes, "dtype": dtype, "suite": suite_name}
            said = {
                name: line.get(name) or "" for name in ("plugin", "metric", "outcome", "reason")
            }
            commit = file.name.partition("-")[0]
            yield {**said, **place, "machine": file.parent.name, "commit": commit}


def _subject(one: Measurement) -> str:
    """The op, the layer, or the name of the task."""
    plugin = registry.index().get(_base(one.plugin))
    if metrics.METRICS[one.metric].way is metrics.Way.TRAINING or not claims.axes_of(one.sizes):
        return one.sizes
    if plugin and plugin.kind == "mixer":
        return subject_of(one.group.split(":")[1])
    return plugin.op if plugin and plugin.op else "no longer in the tree"


def _compiled(one: Measurement) -> bool:
    return metrics.METRICS[one.metric].way is metrics.Way.COMPILE


def _base(plugin: str) -> str:
    """The id without the settings behind it."""
    return plugin.partition("(")[0]


def _ours(plugin: registry.Plugin) -> bool:
    return plugin.file.is_relative_to(claims.ROOT)


def _file(plugin: registry.Plugin) -> str:
    """The path from the root of the project; of a plugin from elsewhere only the name."""
    return _shown(plugin.file) if _ours(plugin) else plugin.file.name


def _shown(file: Path) -> str:
    return file.relative_to(claims.ROOT).as_posix()


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
