"""Head to head: how far beyond the trained length each transition follows the words of a group.

One panel a machine and word problem. A transition's accuracy at 1, 2, 4, ... times the trained length
is the median over its seeds; it *stops* at the last of them up to which all are solved, a length being
solved where the accuracy is the lab's for a solved task. Runs count at the task's own budget and at the
newest commit that trained the mixer. A transition whose state is not as large as the task asks for, to
a twentieth, is named apart, one whose contract fails is named and has no figure.
"""

import itertools
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suites import catalogue

from ..engine.noise import median
from ..engine.ruler import from_tree
from ..lab.seeds import bootstrap_median
from ..lab.training.run import FAILED, SOLVED
from ..record.measurement import Measurement
from .claims import axes_of
from .shown.paths import base

if TYPE_CHECKING:
    from suites.tasks import Task

Row = dict[str, Any]
PREFIX = "word_problem-"
COST = "us_per_token"
NEAR = 0.05
"""Share of the task's state by which an equal one may differ, as models with equal parameters may."""
PUBLISHED = Path(catalogue.__file__).parents[1] / "tasks" / "published.toml"
KEYS = ("model", "published", "setting", "source", "expects", "task", "mixer", "differs")
EXPECTED = ("solved", "failed")


def head_to_head(runs: Sequence[Row], known: Sequence[Measurement]) -> Row:
    """Panels of every machine and word problem, and what others published beside what was measured.

    ``runs`` are those of ``curves.curves``, ``known`` those of ``current.measurements``.
    """
    tasks = from_tree("suites.tasks").settings()
    newest = _newest(runs, known, tasks)
    machines = sorted({machine for machine, _, _ in newest} | {one.machine for one in known})
    wanted = [task for name, task in tasks.items() if name.startswith(PREFIX) and task.lengths]
    panels = [_panel(machine, task, newest, known) for machine in machines for task in wanted]
    return {
        "panels": [panel for panel in panels if panel["rows"] or panel["broken"]],
        "published": list(_beside(published(), newest, tasks)),
    }


def summary(whole: Row) -> Row:
    """What a page says of the head-to-head without having loaded it."""
    rows = [row for panel in whole["panels"] for row in panel["rows"]]
    return {
        "mixers": sorted({row["mixer"] for row in rows}),
        "tasks": sorted({panel["task"] for panel in whole["panels"]}),
    }


def published(file: Path = PUBLISHED) -> list[Row]:
    """Accuracies of others. ValueError names the row that lacks a key, or has one that is unknown."""
    rows = tomllib.loads(file.read_text(encoding="utf-8"))["row"]
    tasks = from_tree("suites.tasks").settings()
    for number, row in enumerate(rows, 1):
        if set(row) != set(KEYS):
            odd = ", ".join(sorted(set(row) ^ set(KEYS)))
            raise ValueError(f"{file.name}: row {number}: {odd}, want {', '.join(KEYS)}")
        if row["expects"] not in EXPECTED or row["task"] not in tasks:
            raise ValueError(
                f"{file.name}: row {number}: expects {row['expects']!r} of {row['task']!r}, "
                f"want {' or '.join(EXPECTED)} of a task of suites/tasks"
            )
    return rows


def reach(points: Iterable[Row], solved: Callable[[Row], bool]) -> int:
    """The largest multiple up to which every one is ``solved``; 0 when the first is not."""
    return max([0, *(point["multiple"] for point in itertools.takewhile(solved, points))])


Newest = Mapping[tuple[str, str, str], list[Row]]
"""Machine, task and mixer to the runs that count, by seed."""


def _newest(
    runs: Iterable[Row], known: Sequence[Measurement], tasks: "Mapping[str, Task]"
) -> Newest:
    """Runs at the full budget, of the newest commit, and there of the suite with the most seeds."""
    moments = {one.commit[:8]: one.moment for one in known}
    found: dict[tuple[str, str, str], dict[tuple[str, str], list[Row]]] = {}
    for run in runs:
        task = tasks.get(run["task"])
        # without a figure of that commit, a run is of a task that was never finished
        if task and run["tokens"] == task.tokens and run["commit"] in moments:
            of = found.setdefault((run["machine"], run["task"], run["mixer"]), {})
            of.setdefault((run["commit"], run["suite"]), []).append(run)
    return {
        who: at[max(at, key=lambda one: (moments[one[0]], len(at[one]), one[1]))]
        for who, at in found.items()
    }


def _panel(machine: str, task: "Task", newest: Newest, known: Sequence[Measurement]) -> Row:
    mine = {
        mixer: runs
        for (where, name, mixer), runs in sorted(newest.items())
        if (where, name) == (machine, task.name)
    }
    broken = {mixer for mixer, runs in mine.items() if _fails(mixer, runs, known)}
    broken |= _refused(machine, task, known)
    sizes, costs = _costs(machine, [*mine], known)
    _, group, *rest = task.name.split("-")
    return {
        "machine": machine,
        "task": task.name,
        "group": group,
        "letters": "generators" if "generators" in rest else "all elements",
        "says": task.says,
        "length": task.length - 1,
        "floor": task.floor,
        "solved": task.floor + SOLVED * (1 - task.floor),
        "tokens": task.tokens,
        "state": _state(task),
        "cost_sizes": sizes,
        "controls": {"must pass": list(task.must_pass), "must fail": list(task.must_fail)},
        "broken": sorted(broken),
        "rows": [
            row(mixer, runs, task) | {"cost": costs.get(mixer)}
            for mixer, runs in mine.items()
            if mixer not in broken
        ],
    }


def row(mixer: str, runs: Sequence[Row], task: "Task") -> Row:
    """One transition on one task: its points by multiple of the trained length, and its sizes."""
    points = list(_points(runs, task))
    return {
        "mixer": mixer,
        "commit": runs[0]["commit"],
        "suite": runs[0]["suite"],
        "seeds": len(runs),
        "points": points,
        "stops": {
            "median": reach(points, lambda one: task.normalised(one["median"]) >= SOLVED),
            "every seed": reach(points, lambda one: one["solved"] == len(runs)),
        },
        "rates": sorted({run["rate"] for run in runs}),
        "parameters": runs[0]["parameters"],
        "state": runs[0]["state_size"],
        "equal": _is_equal(runs[0]["state_size"], _state(task)),
        "flops": runs[0]["flops"],
        "outcomes": dict(sorted(Counter(run["outcome"] for run in runs).items())),
        "reasons": sorted({run["reason"] for run in runs if run["reason"]}),
    }


def _points(runs: Sequence[Row], task: "Task") -> Iterator[Row]:
    by_length: dict[int, list[float]] = {}
    for run in runs:
        for length, accuracy in run["by_length"]:
            if accuracy is not None:
                by_length.setdefault(length, []).append(accuracy)
    for length, found in sorted(by_length.items()):
        # the first token is no letter; a median over fewer seeds would move for no reason
        multiple, rest = divmod(length - 1, task.length - 1)
        if rest or len(found) < len(runs):
            continue
        yield {
            "multiple": multiple,
            "median": median(found),
            "interval": list(bootstrap_median(found)),
            "range": [min(found), max(found)],
            "solved": sum(task.normalised(one) >= SOLVED for one in found),
        }


def _state(task: "Task") -> int | None:
    """Elements of the state that the task asks of every mixer."""
    return task.layers * task.state[0] * task.state[1] if task.state else None


def _is_equal(state: int | None, wanted: int | None) -> bool:
    return wanted is None or (state is not None and abs(state - wanted) <= NEAR * wanted)


def _fails(mixer: str, runs: Sequence[Row], known: Iterable[Measurement]) -> bool:
    machine, commit = runs[0]["machine"], runs[0]["commit"]
    return any(
        one.contract == "wrong"
        and base(one.plugin) == base(mixer)
        and (one.machine, one.commit[:8]) == (machine, commit)
        for one in known
    )


def _refused(machine: str, task: "Task", known: Iterable[Measurement]) -> set[str]:
    """Mixers that were not trained when they were last to be, since their laws failed."""
    last: dict[str, list[Measurement]] = {}
    for one in known:
        if (one.machine, one.sizes) == (machine, task.name):
            there = last.setdefault(one.plugin, [])
            if not there or one.moment > there[0].moment:
                there[:] = [one]
            elif one.moment == there[0].moment:
                there.append(one)
    return {
        plugin for plugin, found in last.items() if any(one.contract == "wrong" for one in found)
    }


def _costs(
    machine: str, mixers: Sequence[str], known: Iterable[Measurement]
) -> tuple[str | None, dict[str, Row]]:
    """Microseconds a token of a layer alone, at the sizes where most of the mixers were timed."""
    by_sizes: dict[str, dict[str, Measurement]] = {}
    for one in known:
        timed = one.metric == COST and one.machine == machine and one.contract == "ok"
        if timed and one.plugin in mixers and axes_of(one.sizes):
            there = by_sizes.setdefault(f"{one.sizes} {one.dtype}", {})
            if one.plugin not in there or one.moment > there[one.plugin].moment:
                there[one.plugin] = one
    if not by_sizes:
        return None, {}
    sizes = max(sorted(by_sizes), key=lambda name: len(by_sizes[name]))
    return sizes, {
        mixer: {"value": one.value, "interval": [one.low, one.high]}
        for mixer, one in by_sizes[sizes].items()
    }


def _beside(rows: Iterable[Row], newest: Newest, tasks: "Mapping[str, Task]") -> Iterator[Row]:
    """Each published figure with what every machine measured of the mixer that comes nearest."""
    for each in rows:
        task = tasks[each["task"]]
        found = [
            _measured(machine, runs, task, each["expects"])
            for (machine, name, mixer), runs in sorted(newest.items())
            if (name, mixer) == (each["task"], each["mixer"])
        ]
        ours = f"{task.says} {task.tokens} tokens, width {task.width}, layers {task.layers}"
        yield each | {"ours": ours, "measured": found}


def _measured(machine: str, runs: Sequence[Row], task: "Task", expects: str) -> Row:
    scores = [run["accuracy"] for run in runs if run["accuracy"] is not None]
    middle = task.normalised(median(scores))
    outcome = "solved" if middle >= SOLVED else "failed" if middle <= FAILED else "between"
    return {
        "machine": machine,
        "commit": runs[0]["commit"],
        "median": median(scores),
        "interval": list(bootstrap_median(scores)),
        "seeds": len(scores),
        "solved": sum(task.normalised(one) >= SOLVED for one in scores),
        "outcome": outcome,
        "as_published": outcome == expects,
    }
