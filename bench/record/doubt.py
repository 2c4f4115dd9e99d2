"""Doubt: why a result file is not what it says, told from what else it says.

    misnamed, a copy   its folder and its name follow from the machine, commit and environment in it
    duplicate          no figure of it was taken in the very rounds of another file's
    future-dated       a commit is made before it is measured, clocks of two machines a day apart at most
    foreign            it has a benchmark of ours, and a plugin that is here
    with a history     its commit is there, and dated as there

No clock is read: what was measured later than today cannot be told by a pure function, and decides
nothing, for a commit has its place by its own date or by the history, never by when it was measured.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.metrics import METRICS
from .benchmark_name import of_ours
from .measurement import History, Measurement
from .result_file import benchmarks, stamp

CLOCKS_APART_MS = 24 * 3600 * 1000
"""How far the clock of a machine may lag behind that of whoever made the commit: a day."""
LONG = 128
"""From this length on asv puts a digest in the place of an environment's name in a file's."""


def doubt(file: Path, data: Mapping[str, Any], history: History | None) -> str | None:
    """Why the file is not what it says, or None."""
    commit, machine = data["commit_hash"], data["params"]["machine"]
    if file.parent.name != machine:
        return f"it is of the machine {machine!r}, want it in the folder of that name"
    environment = data["env_name"]
    if len(environment) >= LONG:
        environment = hashlib.md5(environment.encode()).hexdigest()
    name = f"{commit[:8]}-{environment}.json"
    if file.name != name:
        copied = ", which is there" if file.with_name(name).exists() else ""
        return f"it holds commit {commit[:8]} in {environment}, want the name {name}{copied}"
    if not any(of_ours(benchmark) for benchmark in data["results"]) and data["results"]:
        return "it has no benchmark of this project"
    for _, table in benchmarks(data):
        started = table.get("started_at")
        if started is not None and started + CLOCKS_APART_MS < data["date"]:
            made, taken = stamp(data["date"]), stamp(started)
            return f"commit {commit[:8]} is dated {made}, figures of it {taken}: one clock is wrong"
    if history is not None and commit not in history:
        return f"commit {commit[:8]} is not in this history"
    if history is not None and history[commit] != data["date"]:
        there = stamp(history[commit])
        return f"commit {commit[:8]} is dated {stamp(data['date'])}, in this history {there}"
    return None


def foreign(fresh: Sequence[Measurement], plugins: Collection[str] | None) -> str | None:
    """Why a file is of another project: it has contestants and none of ``plugins``; or None."""
    named = {one.plugin.partition("(")[0] for one in fresh if not METRICS[one.metric].aside}
    if plugins is None or not named or not named.isdisjoint(plugins):
        return None
    return f"none of its plugins is here: {', '.join(sorted(named)[:3])}"


def repeated(fresh: Iterable[Measurement], seen: Mapping[tuple[object, ...], Path]) -> str | None:
    """Why a file is a duplicate: ``seen`` has the ``identity`` of one of its measurements; or None."""
    there = next((seen[identity(one)] for one in fresh if identity(one) in seen), None)
    return f"its figures are those of {there.name}" if there else None


def identity(one: Measurement) -> tuple[object, ...]:
    """What no other measurement shares: the rounds, and what was taken in them."""
    return one.machine, one.kind, one.group, one.date, one.plugin, one.metric, one.samples


def unknown_metrics(data: Mapping[str, Any]) -> list[str]:
    """Metrics of our benchmarks that this version does not know."""
    named = {name.rpartition(".")[2] for name in data["results"] if of_ours(name)}
    return sorted(name for name in named if name.removeprefix("track_") not in METRICS)
