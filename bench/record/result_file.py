"""One of asv's result files, as plain JSON: its measurements, or an exception that says why not."""

import ast
import datetime
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..engine.metrics import METRICS, SETTING
from ..engine.noise import median_interval
from . import setting
from .benchmark_name import STATIC, TASKS, of_ours, suite_of
from .measurement import Measurement

BROKEN = (
    OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, SyntaxError,
    RecursionError,
)  # fmt: skip
"""What reading a file of any content may raise."""
WANTED = {
    "version", "commit_hash", "date", "env_name", "params", "requirements", "result_columns", "results",
}  # fmt: skip
"""What each of asv's result files has."""


def read(file: Path) -> list[Measurement]:
    """The measurements of one of asv's result files. Raises when it is not one."""
    return measurements(loaded(file))


def loaded(file: Path) -> Mapping[str, Any]:
    """The JSON of a result file. Raises when it lacks what each of them has."""
    data = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ValueError("no JSON object")
    if missing := WANTED - data.keys():
        raise ValueError(f"no {', '.join(sorted(missing))} in it")
    if data["version"] != 2:
        raise ValueError(f"version {data['version']} of asv's format, want 2")
    if not re.fullmatch("[0-9a-f]{40}", data["commit_hash"]):
        raise ValueError(f"commit {data['commit_hash']!r}, want 40 hexadecimal digits")
    for name, version in data["requirements"].items():
        if not isinstance(version, str):
            raise TypeError(f"version of {name} is {version!r}, want text")
    return data


def measurements(data: Mapping[str, Any]) -> list[Measurement]:
    """What is in a loaded file, but for benchmarks and metrics that are not ours."""
    tables = dict(benchmarks(data))
    found, admitted = [], _admitted(tables)
    for name, table in tables.items():
        module, _, rest = name.partition(".")
        subject, _, track = rest.rpartition(".")
        metric = track.removeprefix("track_")
        if not of_ours(name) or metric not in METRICS or metric == SETTING:
            continue
        contract = _contracts(tables.get(f"{module}.{subject}.track_contract"))
        codes = _codes(tables.get(f"{module}.{subject}.track_{SETTING}"))
        settings = str(table.get("version") or "") if module == TASKS else ""
        for parameters, cell in cells(table):
            # a kernel is compiled without being run: the plugin's contract elsewhere speaks for it
            known = admitted if module == STATIC else contract
            at = parameters[:1] if module == STATIC else parameters
            outcome = known.get(at, "not run")
            made = _measurement(data, (subject, metric), parameters, cell, outcome)
            knobs = setting.told(made.plugin, codes.get(parameters))
            found.append(replace(made, settings=settings, knobs=knobs))
    return found


def benchmarks(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name of each benchmark, and its columns by name."""
    for name, row in data["results"].items():
        yield name, dict(zip(data["result_columns"], row, strict=False))


def cells(table: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """The parameters of each figure of one benchmark, and what asv stored for it."""
    combinations = itertools.product(*(table.get("params") or []))
    for i, literals in enumerate(combinations):
        columns = {
            key: column[i]
            for key, column in table.items()
            if isinstance(column, list) and key != "params" and i < len(column)
        }
        value = columns.get("result")
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        columns["started_at"] = table.get("started_at")
        yield tuple(str(ast.literal_eval(literal)) for literal in literals), columns


def _admitted(tables: Mapping[str, Mapping[str, Any]]) -> Mapping[tuple[str, ...], str]:
    """The contract's outcome of each plugin at this commit: wrong when it is wrong on any problem."""
    found: dict[tuple[str, ...], str] = {}
    for name, table in tables.items():
        if name.endswith(".track_contract"):
            for at, outcome in _contracts(table).items():
                found[at[:1]] = "wrong" if "wrong" in (outcome, found.get(at[:1])) else "ok"
    return found


def _codes(table: Mapping[str, Any] | None) -> Mapping[tuple[str, ...], float]:
    """Which setting a contestant ran with, where one was stored for it."""
    return {at: cell["result"] for at, cell in cells(table)} if table else {}


def _contracts(table: Mapping[str, Any] | None) -> Mapping[tuple[str, ...], str]:
    if table is None:
        return {}
    return {at: "wrong" if cell["result"] else "ok" for at, cell in cells(table)}


def _measurement(
    data: Mapping[str, Any],
    what: tuple[str, str],
    parameters: tuple[str, ...],
    cell: Mapping[str, Any],
    contract: str,
) -> Measurement:
    subject, name = what
    metric, params = METRICS[name], data["params"]
    plugin, sizes, dtype = (*parameters, "", "")[:3]
    # what was compiled is about a card that need not be here
    kind = f"sm_{parameters[3]}" if len(parameters) > 3 else params.get("kind", "cpu")
    samples = tuple(cell.get("samples") or (cell["result"],))
    if not all(type(sample) in (int, float) for sample in (cell["result"], *samples)):
        raise TypeError(f"{name} of {plugin} is {samples[:3]}, want numbers")
    if metric.exact:
        low = high = samples[0]
    else:
        low, high = median_interval(samples)
    # the number is the name of the rounds, see bench/kernels.py
    place = (data["commit_hash"], subject, sizes, dtype, str(cell.get("stats_number")))
    return Measurement(
        plugin=plugin,
        metric=name,
        unit=metric.unit,
        sizes=sizes,
        dtype=dtype,
        machine=params["machine"],
        kind=kind,
        samples=samples,
        low=low,
        high=high,
        modelled=metric.modelled,
        contract=contract,
        commit=data["commit_hash"],
        group=":".join(place),
        suite=suite_of(subject),
        stack=data["requirements"],
        date=stamp(cell["started_at"] or 0),
        committed=stamp(data["date"]),
    )


def stamp(milliseconds: float) -> str:
    """Milliseconds since 1970 as ``2026-01-31T12:00:00+00:00``."""
    moment = datetime.datetime.fromtimestamp(milliseconds / 1e3, datetime.UTC)
    return moment.isoformat(timespec="seconds")
