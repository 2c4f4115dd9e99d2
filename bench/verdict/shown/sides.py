"""Contestants side by side: one table an op or task, machine, suite, sizes and dtype.

Each shows its newest commit only. What fails its contract has an outcome and no figure.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from impl import registry

from ...engine import metrics
from ...record.benchmark_name import subject_of
from ...record.json_value import finite
from ...record.measurement import History, Measurement
from ...record.results_folder import beside
from .. import claims
from .paths import base

Row = dict[str, Any]
NAMES = ("subject", "kind", "machine", "suite", "sizes", "dtype")
"""What a table is about."""


def tables(known: Sequence[Measurement], reasons: Sequence[Row]) -> list[Row]:
    """Every table, sorted by what it is about."""
    wrong = {(base(one.plugin), one.commit) for one in known if one.contract == "wrong"}
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for one in known:
        key = (subject(one), one.kind, one.machine, one.suite, one.sizes, one.dtype)
        groups.setdefault(key, []).append(one)
    return [_table(key, groups[key], wrong, reasons) for key in sorted(groups)]


def _table(
    key: tuple[str, ...],
    members: Sequence[Measurement],
    wrong: Iterable[tuple[str, str]],
    reasons: Sequence[Row],
) -> Row:
    committed, commit = max(one.moment for one in members)[1:]
    here = [one for one in members if one.commit == commit]
    table: Row = dict(zip(NAMES, key, strict=True))
    table |= {"commit": commit, "committed": committed}
    said = [one for one in reasons if _about(one, table)]
    broken = {plugin for plugin, at in wrong if at == commit}
    broken |= {base(one["plugin"]) for one in said if one["outcome"] == "wrong"}
    who = sorted({one.plugin for one in here} | {one["plugin"] for one in said})
    rows = [_contestant(each, here, said, is_broken=base(each) in broken) for each in who]
    shown = {name for row in rows for name in row["figures"]}
    columns = [name for name in metrics.METRICS if name in shown]
    return table | {"rows": rows, "columns": columns}


def _contestant(
    plugin: str, here: Iterable[Measurement], said: Iterable[Row], *, is_broken: bool
) -> Row:
    """Figures, or the outcome in their place: nothing is shown of what fails its contract."""
    mine = [one for one in here if one.plugin == plugin]
    why = [one for one in said if one["plugin"] == plugin]
    checked = any(one.contract == "ok" for one in mine)
    # what was compiled is no figure of a run: its contract is checked where it runs
    may_show = not is_broken and (checked or all(is_compiled(one) for one in mine))
    outcome = "wrong" if is_broken else "ok" if checked else "not run"
    if not mine:
        outcome = "wrong" if is_broken else min((one["outcome"] for one in why), default="not run")
    shown = {
        one.metric: {
            "value": one.value,
            "interval": [finite(one.low), finite(one.high)],
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


def reasons(results: Path, history: History | None = None) -> Iterator[Row]:
    """Why figures are missing, from the files that lie beside them; what is no such line is skipped."""
    for machine, commit, line in beside(results, "outcomes", history):
        try:
            suite_name, group = line["group"]
            about, sizes, dtype = group.split(" ")
        except (AttributeError, ValueError, KeyError, TypeError):
            continue
        place = {"subject": about, "sizes": sizes, "dtype": dtype, "suite": suite_name}
        said = {name: line.get(name) or "" for name in ("plugin", "metric", "outcome", "reason")}
        yield {**said, **place, "machine": machine, "commit": commit}


def subject(one: Measurement) -> str:
    """The op, the layer, or the name of the task."""
    plugin = registry.index().get(base(one.plugin))
    # every figure of a task has its settings, the contract of its mixers too
    if one.settings or not claims.axes_of(one.sizes):
        return one.sizes
    if plugin and plugin.kind == "mixer":
        return subject_of(one.group.split(":")[1])
    return plugin.op if plugin and plugin.op else "no longer in the tree"


def is_compiled(one: Measurement) -> bool:
    """Whether the figure was read off a binary, which nothing needs to run for."""
    return metrics.METRICS[one.metric].way is metrics.Way.COMPILE
