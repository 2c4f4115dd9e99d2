"""One measurement, and asv's result files as the one store of all of them.

``results/<machine>/<commit>-<environment>.json`` is read as plain JSON, so that a file that is broken
or half written, or is not what it says, is named and skipped, and the others still count. Nothing but
asv's own files lies under ``results/``, so the site, the verdicts and an export read the same.

A file is taken at its word only where that can be checked against something else it says:

    misnamed, a copy   its folder and its name follow from the machine, commit and environment in it
    duplicate          no figure of it was taken in the very rounds of another file's
    future-dated       a commit is made before it is measured, clocks of two machines a day apart at most
    foreign            it has a benchmark of ours, and a plugin that is here
    with a history     its commit is there, and dated as there

No clock is read: what was measured later than today cannot be told by a pure function, and decides
nothing, for a commit has its place by its own date or by the history, never by when it was measured.
"""

import ast
import datetime
import hashlib
import itertools
import json
import math
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .metrics import METRICS
from .noise import median, median_interval

if TYPE_CHECKING:
    import pandas

KERNELS, TASKS, STATIC, CEILINGS = "kernels", "tasks", "static", "ceilings"
"""Modules of ``bench/`` that asv sees; the first part of a benchmark's name."""


BROKEN = (
    OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, SyntaxError,
    RecursionError,
)  # fmt: skip
"""What reading a file of any content may raise."""
CLOCKS_APART_MS = 24 * 3600 * 1000
"""How far the clock of a machine may lag behind that of whoever made the commit: a day."""
LONG = 128
"""From this length on asv puts a digest in the place of an environment's name in a file's."""

WANTED = {
    "version", "commit_hash", "date", "env_name", "params", "requirements", "result_columns", "results",
}  # fmt: skip
"""What each of asv's result files has."""

History = Mapping[str, int]
"""Hash of a commit to its date in milliseconds since 1970, the oldest commit first."""


class CorruptResults(UserWarning):
    """A file under results/ could not be read; nothing of it was used or changed."""


class DoubtfulResults(CorruptResults):
    """A file under results/ is not what it says; nothing of it was used or changed."""


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
    position: int = 0
    """Of the commit in the history it was read with, oldest first; 0 where there was none."""
    settings: str = ""
    """Digest of a task's settings: another budget is another question. Empty for everything else."""

    @property
    def value(self) -> float:
        """The median of the samples."""
        return median(self.samples)

    @property
    def moment(self) -> tuple[int, str, str]:
        """The commit's place in the order of history: by ancestry, else by date, ties by hash."""
        return self.position, self.committed, self.commit

    @property
    def software(self) -> str:
        """The stack in one line: ``numpy 2.4.6, torch 2.13.0``."""
        return ", ".join(f"{name} {version}" for name, version in sorted(self.stack.items()))


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


def read_all(
    results: Path | str = "results",
    history: History | None = None,
    plugins: Collection[str] | None = None,
    *,
    aside: bool = False,
) -> list[Measurement]:
    """Every measurement below ``results``; a file that is not used is named in one warning.

    With ``history``, commits are in its order and those outside it are foreign; with ``plugins``, a
    file that has none of them is. ``aside`` are those that are no figure of a contestant, see
    ``metrics.Metric``, and no others.
    """
    positions = {commit: i for i, commit in enumerate(history or (), 1)}
    return [
        replace(one, position=positions.get(one.commit, 0))
        for _, fresh in used(results, history, plugins)
        for one in fresh
        if METRICS[one.metric].aside == aside
    ]


def used(
    results: Path | str,
    history: History | None = None,
    plugins: Collection[str] | None = None,
) -> Iterator[tuple[Path, list[Measurement]]]:
    """The files that count, with what is in them; each of the others is named in one warning."""
    seen: dict[tuple[object, ...], Path] = {}
    for file in sorted(Path(results).glob("*/*.json")):
        if file.name == "machine.json":
            continue
        try:
            data = _loaded(file)
            reason = _doubt(file, data, history)
            fresh = [] if reason else _measurements(data)
        except BROKEN as error:
            _warn(file, f"not read, {type(error).__name__}: {error}", CorruptResults)
            continue
        reason = reason or _foreign(fresh, plugins) or _copied(fresh, seen)
        if reason:
            _warn(file, f"not used, {reason}", DoubtfulResults)
            continue
        if unknown := _unknown_metrics(data):
            _warn(file, f"passed over, no metric of ours: {', '.join(unknown)}", DoubtfulResults)
        seen |= {_taken(one): file for one in fresh}
        yield file, fresh


def read(file: Path) -> list[Measurement]:
    """The measurements of one of asv's result files. Raises when it is not one."""
    return _measurements(_loaded(file))


def lines(file: Path) -> Iterator[dict[str, Any]]:
    """What can be read of a file of one JSON object a line; the first line that cannot is named."""
    broken = []
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
    except BROKEN as error:
        _warn(file, f"not read, {type(error).__name__}: {error}", CorruptResults)
        return
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise ValueError(f"{line[:20]!r}, want an object")
        except BROKEN as error:
            broken.append(f"line {number}: {error}")
            continue
        yield found
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        _warn(file, f"a line not read, {broken[0]}{more}", CorruptResults)


def beside(
    results: Path | str, ending: str, history: History | None = None
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Machine, first eight digits of the commit, and each line of the files ``*.<ending>.jsonl``.

    ``ending`` is ``outcomes`` or ``curves``. A file of no commit, or of none in ``history``, is named
    and not used.
    """
    known = {commit[:8] for commit in history} if history else None
    for file in sorted(Path(results).glob(f"*/*.{ending}.jsonl")):
        commit = file.name.partition("-")[0]
        if not re.fullmatch("[0-9a-f]{8}", commit):
            _warn(file, "not used, want the name <commit>-<environment>", DoubtfulResults)
        elif known is not None and commit not in known:
            _warn(file, f"not used, commit {commit} is not in this history", DoubtfulResults)
        else:
            for line in lines(file):
                yield file.parent.name, commit, line


def _warn(file: Path, what: str, kind: type[Warning]) -> None:
    warnings.warn(f"{file}: {what}", kind, stacklevel=3)


def _loaded(file: Path) -> Mapping[str, Any]:
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


def _doubt(file: Path, data: Mapping[str, Any], history: History | None) -> str | None:
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
    if not any(_of_ours(benchmark) for benchmark in data["results"]) and data["results"]:
        return "it has no benchmark of this project"
    for _, table in _tables(data):
        started = table.get("started_at")
        if started is not None and started + CLOCKS_APART_MS < data["date"]:
            made, taken = _stamp(data["date"]), _stamp(started)
            return f"commit {commit[:8]} is dated {made}, figures of it {taken}: one clock is wrong"
    if history is not None and commit not in history:
        return f"commit {commit[:8]} is not in this history"
    if history is not None and history[commit] != data["date"]:
        there = _stamp(history[commit])
        return f"commit {commit[:8]} is dated {_stamp(data['date'])}, in this history {there}"
    return None


def _foreign(fresh: Sequence[Measurement], plugins: Collection[str] | None) -> str | None:
    named = {one.plugin.partition("(")[0] for one in fresh if not METRICS[one.metric].aside}
    if plugins is None or not named or not named.isdisjoint(plugins):
        return None
    return f"none of its plugins is here: {', '.join(sorted(named)[:3])}"


def _copied(fresh: Iterable[Measurement], seen: Mapping[tuple[object, ...], Path]) -> str | None:
    there = next((seen[_taken(one)] for one in fresh if _taken(one) in seen), None)
    return f"its figures are those of {there.name}" if there else None


def _taken(one: Measurement) -> tuple[object, ...]:
    """What no other measurement shares: the rounds, and what was taken in them."""
    return one.machine, one.kind, one.group, one.date, one.plugin, one.metric, one.samples


def _unknown_metrics(data: Mapping[str, Any]) -> list[str]:
    named = {name.rpartition(".")[2] for name in data["results"] if _of_ours(name)}
    return sorted(name for name in named if name.removeprefix("track_") not in METRICS)


def _of_ours(benchmark: str) -> bool:
    return benchmark.partition(".")[0] in (KERNELS, TASKS, STATIC, CEILINGS)


def _tables(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, row in data["results"].items():
        yield name, dict(zip(data["result_columns"], row, strict=False))


def _measurements(data: Mapping[str, Any]) -> list[Measurement]:
    tables = dict(_tables(data))
    found, admitted = [], _admitted(tables)
    for name, table in tables.items():
        module, _, rest = name.partition(".")
        subject, _, track = rest.rpartition(".")
        metric = track.removeprefix("track_")
        if not _of_ours(name) or metric not in METRICS:
            continue
        contract = _contracts(tables.get(f"{module}.{subject}.track_contract"))
        settings = str(table.get("version") or "") if module == TASKS else ""
        for parameters, cell in cells(table):
            # a kernel is compiled without being run: the plugin's contract elsewhere speaks for it
            known = admitted if module == STATIC else contract
            at = parameters[:1] if module == STATIC else parameters
            outcome = known.get(at, "not run")
            made = _measurement(data, (subject, metric), parameters, cell, outcome)
            found.append(replace(made, settings=settings))
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
        date=_stamp(cell["started_at"] or 0),
        committed=_stamp(data["date"]),
    )


def _stamp(milliseconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(milliseconds / 1e3, datetime.UTC)
    return moment.isoformat(timespec="seconds")


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
