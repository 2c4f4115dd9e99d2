"""What the site shows, as plain values: a pure function of the results and of this tree.

No clock and nothing of the machine that publishes is read, so that the same results give the same
bytes wherever and whenever the site is built. What every page needs stands in the whole; what only
some pages need, a subject's tables and histories and the source of a file, stands in ``parts``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine import metrics, suite
from ..record.measurement import History, Measurement
from . import current, curves, head_to_head, leaderboards, rooflines
from .history import changes, points
from .judging import judge
from .judging.judgement import Judgement
from .shown import histories, machines, plugins, proposals, sides

Row = dict[str, Any]


def contents(
    results: Path,
    known: Sequence[Measurement],
    judged: Mapping[str, Judgement],
    *,
    aside: Sequence[Measurement] = (),
    history: History | None = None,
) -> Row:
    """Everything: proposals, plugins, machines, subjects, changes, and the parts by name.

    ``known`` and ``aside`` are what ``current.measurements`` has read with ``history``.
    """
    reasons = list(sides.reasons(results, history))
    runs = curves.curves(results, history)
    found = subjects(known, reasons, runs)
    met = head_to_head.head_to_head(runs, known)
    return {
        "rules": dict(judge.RULES),
        "metrics": {name: _metric(metric) for name, metric in metrics.METRICS.items()},
        "proposals": proposals.proposals(judged, current.turned([*known])),
        "plugins": plugins.plugins(known, reasons),
        "machines": _machines(results, known, aside),
        "leaderboards": leaderboards.leaderboards([*known, *aside], reasons),
        "subjects": {name: _summary(part) for name, part in found.items()},
        "transitions": head_to_head.summary(met),
        "baselines": baselines(),
        "changes": histories.changes(changes.changes(known)),
        "parts": {f"subject/{name}": part for name, part in found.items()}
        | {"head_to_head/transitions": met}
        | {f"source/{file}": text for file, text in plugins.sources().items()},
    }


def subjects(
    known: Sequence[Measurement], reasons: Sequence[Row], runs: Sequence[Row]
) -> dict[str, Row]:
    """Op, layer or task to its tables, its series over commits and its learning curves."""
    found: dict[str, Row] = {}
    for table in sides.tables(known, reasons):
        found.setdefault(table["subject"], {"tables": [], "curves": []})["tables"].append(table)
    for run in runs:
        # without a score, a run is of a task that was never finished
        if run["task"] in found:
            found[run["task"]]["curves"].append(run)
    order = histories.moments(known)
    named = {name: [one for one in known if sides.subject(one) == name] for name in found}
    return {
        name: part | histories.histories(points.series(named[name]), order)
        for name, part in found.items()
    }


def baselines() -> dict[str, list[str]]:
    """Op or layer to the contestants that some suite shows the others against."""
    found: dict[str, set[str]] = {}
    for name in suite.names():
        for contest in suite.load(name).contests:
            found.setdefault(contest.op, set()).add(contest.baseline)
    return {op: sorted(names) for op, names in sorted(found.items())}


def _machines(
    results: Path, known: Sequence[Measurement], aside: Sequence[Measurement]
) -> dict[str, Row]:
    """Machines with their ceilings and the kernels below them."""
    ceilings, kernels = rooflines.ceilings(aside), rooflines.rooflines([*known, *aside])
    return {
        name: machine | {"ceilings": ceilings.get(name, []), "roofline": kernels.get(name, [])}
        for name, machine in machines.machines(results, known).items()
    }


def _metric(metric: metrics.Metric) -> Row:
    names = ("unit", "says", "modelled", "exact", "higher_is_better")
    return {name: getattr(metric, name) for name in names} | {"way": str(metric.way)}


def _summary(part: Row) -> Row:
    """What a page says of a subject whose part it has not loaded."""
    tables = part["tables"]
    return {
        "machines": sorted({table["machine"] for table in tables}),
        "problems": len(tables),
        "plugins": sorted({row["plugin"] for table in tables for row in table["rows"]}),
    }
