"""One measurement, and asv's result files as the one store of all of them.

``results/<machine>/<commit>-<environment>.json`` is read as plain JSON, so that a file that is broken
or half written is named and skipped, and the others still count. Nothing but asv's own files lies
under ``results/``, so the site, the verdicts and an export read the same.
"""

import ast
import datetime
import itertools
import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .metrics import METRICS
from .noise import median, median_interval

if TYPE_CHECKING:
    import pandas

KERNELS, TASKS, STATIC, CEILINGS = "kernels", "tasks", "static", "ceilings"
"""Modules of ``bench/`` that asv sees; the first part of a benchmark's name."""


class CorruptResults(UserWarning):
    """A file under results/ could not be read; nothing of it was used or changed."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The samples of one metric of one plugin on one problem, with all that is needed to judge it."""

    plugin: str
    metric: str
    unit: str
    sizes: str
    """``B1-T1024-N32``; for a task its name and settings, ``mqar-T64``."""
    dtype: str
    machine: str
    """Name of the machine, a folder of ``results/``."""
    kind: str
    """``cpu``, the GPU's key in ``suites/gpus.toml``, or ``sm_90`` of what was compiled for it."""
    samples: tuple[float, ...]
    """Sample i was taken in round i: samples of two plugins of one group are paired by position."""
    low: float
    high: float
    """Ends of the 99% interval of the median."""
    modelled: bool
    """True when the figure was computed from a trace or a compile, never by a counter or a clock."""
    contract: str
    """Outcome of the contract at this commit: ok, wrong, unsupported or not run."""
    commit: str
    group: str = ""
    """Measurements with the same group were taken in the same interleaved rounds."""
    suite: str = ""
    stack: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    """When it was measured."""
    committed: str = ""
    """When the commit was made: the order of history, also where an older commit is measured later."""

    @property
    def value(self) -> float:
        """The median of the samples."""
        return median(self.samples)


def dims(sizes: str) -> dict[str, int]:
    """``B1-T64-D16`` as ``{"B": 1, "T": 64, "D": 16}``. ValueError names what does not fit."""
    pairs = [re.fullmatch(r"([A-Z])(\d+)", part) for part in sizes.split("-")]
    if not all(pairs):
        raise ValueError(f"sizes {sizes!r}, want something like B1-T1024-D64")
    found = {pair[1]: int(pair[2]) for pair in pairs if pair}
    if len(found) < len(pairs):
        raise ValueError(f"sizes {sizes!r} give an axis twice")
    return found


def class_name(suite: str, op: str) -> str:
    """``smoke`` and ``delta_rule`` as ``SmokeDeltaRule``, the name of asv's class."""
    return "".join(word.capitalize() for word in [suite, *op.split("_")])


def suite_of(class_name: str) -> str:
    """``SmokeDeltaRule`` as ``smoke``."""
    return re.split("(?<=.)(?=[A-Z])", class_name)[0].lower()


def subject_of(class_name: str) -> str:
    """``SmokeDeltaRule`` as ``delta_rule``."""
    return "_".join(re.split("(?<=.)(?=[A-Z])", class_name)[1:]).lower()


def read_all(results: Path | str = "results", *, aside: bool = False) -> list[Measurement]:
    """Every measurement below ``results``; a broken file warns with CorruptResults and is skipped.

    ``aside`` are those that are no figure of a contestant: of the machine, and of other functions.
    """
    found: list[Measurement] = []
    for file in sorted(Path(results).glob("*/*.json")):
        if file.name == "machine.json":
            continue
        try:
            found += read(file)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"{file}: not read, {reason}", CorruptResults, stacklevel=2)
    return [one for one in found if METRICS[one.metric].aside == aside]


def read(file: Path) -> list[Measurement]:
    """The measurements of one of asv's result files. Raises when it is not one."""
    data = json.loads(file.read_text())
    if data["version"] != 2:
        raise ValueError(f"version {data['version']} of asv's format, want 2")
    tables = {
        name: dict(zip(data["result_columns"], row, strict=False))
        for name, row in data["results"].items()
    }
    found, admitted = [], _admitted(tables)
    for name, table in tables.items():
        module, _, rest = name.partition(".")
        subject, _, track = rest.rpartition(".")
        metric = track.removeprefix("track_")
        if module not in (KERNELS, TASKS, STATIC, CEILINGS) or metric not in METRICS:
            continue
        contract = _contracts(tables.get(f"{module}.{subject}.track_contract"))
        for parameters, cell in cells(table):
            # a kernel is compiled without being run: the plugin's contract elsewhere speaks for it
            known = admitted if module == STATIC else contract
            at = parameters[:1] if module == STATIC else parameters
            outcome = known.get(at, "not run")
            found.append(_measurement(data, (subject, metric), parameters, cell, outcome))
    return found


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
    if metric.exact:
        low = high = samples[0]
    else:
        low, high = median_interval(samples)
    started = datetime.datetime.fromtimestamp((cell["started_at"] or 0) / 1e3, datetime.UTC)
    committed = datetime.datetime.fromtimestamp(data["date"] / 1e3, datetime.UTC)
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
        date=started.isoformat(timespec="seconds"),
        committed=committed.isoformat(timespec="seconds"),
    )


def frame(measurements: Iterable[Measurement]) -> "pandas.DataFrame":
    """One row a measurement, the stack in a column a package, samples as lists."""
    import pandas

    rows = []
    for each in measurements:
        row = {one.name: getattr(each, one.name) for one in fields(each) if one.name != "stack"}
        row |= {"value": each.value, "samples": list(each.samples)}
        rows.append(row | dict(each.stack))
    columns = [one.name for one in fields(Measurement) if one.name != "stack"]
    return pandas.DataFrame(rows, columns=None if rows else [*columns, "value"])


def export(measurements: Sequence[Measurement], place: Path) -> None:
    """Write the tidy table as CSV or Parquet, by the ending of ``place``."""
    table = frame(measurements)
    if place.suffix == ".parquet":
        table.to_parquet(place, index=False)
    elif place.suffix == ".csv":
        table["samples"] = [" ".join(map(repr, each)) for each in table["samples"]]
        table.to_csv(place, index=False)
    else:
        raise ValueError(f"{place.name}, want a name that ends in .csv or .parquet")
