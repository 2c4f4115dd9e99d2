"""Learning curves as they were kept beside the figures of a machine and commit.

A curve says how a mixer came to its score: accuracy at the trained length and loss, by training
tokens, one run a seed. The score itself is ``accuracy``, at the scored length, which is mostly longer:
a curve may end high and its score be low.
"""

import warnings
from pathlib import Path
from typing import Any

from ..engine.metrics import METRICS
from ..engine.ruler import from_tree
from ..record.json_value import finite
from ..record.measurement import History
from ..record.results_folder import CorruptResults, beside

Row = dict[str, Any]
NAMES = ("mixer", "seed", "rate", "tokens", "outcome")
LATER = ("reason", "flops", "parameters", "state_size")


def curves(results: Path, history: History | None = None) -> list[Row]:
    """Every run of every task, by machine, task, mixer, seed and commit, with the task's floor and metric.

    A line that is no curve warns with CorruptResults and is skipped. A task that is no longer in the
    tree has no floor and is taken for one of accuracy. Losses of a diverged run that are no number are None, and so is what a line of
    before it was told lacks: ``reason``, ``flops``, ``parameters``, ``state_size``; its ``by_length``
    and ``gradients`` are empty.
    """
    tasks = from_tree("suites.tasks").settings()
    found = []
    for machine, commit, line in beside(results, "curves", history):
        try:
            row = _curve(line)
        except (KeyError, TypeError, ValueError) as error:
            said = f"{machine}/{commit}: a learning curve not read, {type(error).__name__}: {error}"
            warnings.warn(said, CorruptResults, stacklevel=2)
            continue
        task = tasks.get(row["task"])
        metric = METRICS[task.metric if task else "accuracy"]
        row |= {"machine": machine, "commit": commit, "floor": task.floor if task else None}
        row |= {"metric": metric.name, "unit": metric.unit}
        found.append(row | {"higher_is_better": metric.higher_is_better})
    order = ("machine", "task", "suite", "mixer", "seed", "commit")
    return sorted(found, key=lambda row: tuple(row[name] for name in order))


def _curve(line: Row) -> Row:
    suite, task = line["group"]
    row = {name: line[name] for name in NAMES} | {"suite": suite, "task": task}
    for name, kind in (("mixer", str), ("outcome", str), ("seed", int), ("tokens", int)):
        if not isinstance(row[name], kind):
            raise TypeError(f"{name} {row[name]!r}, want {kind.__name__}")
    row["accuracy"] = finite(line["accuracy"])
    for name in ("accuracies", "losses"):
        row[name] = [[int(tokens), finite(value)] for tokens, value in line[name]]
    for name in ("by_length", "gradients"):
        row[name] = [[int(tokens), finite(value)] for tokens, value in line.get(name, ())]
    row |= {name: line.get(name) for name in LATER}
    return row
