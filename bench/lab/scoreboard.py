"""Scoreboard of a tryout: a table of its mixers, and what went wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.contest import Results
from ..engine.noise import median
from .agenda import Tryout
from .seeds import (
    bootstrap_median,
    controls,
    median_accuracy,
    paired_difference,
    success_rate,
    unequal,
)
from .training.run import Run


def show(held: Tryout, results: Results, runs: Mapping[str, Sequence[Run]]) -> str:
    """A table of the tryout: medians, 99% intervals, success, sizes, and what went wrong."""
    from tabulate import tabulate

    rows = [_row(held, mixer, each, runs) for mixer, each in runs.items() if each]
    lines = [f"{held.task.name}: {held.task.says}", tabulate(rows, headers="keys")]
    lines += [f"not equal in {what}: {sizes}" for what, sizes in unequal(runs).items()]
    lines += [f"control {mixer}: {said}" for mixer, said in controls(held.task, runs).items()]
    lines += [f"{each.plugin}: {each.outcome}, {each.reason}" for each in results.outcomes]
    lines += [
        f"{mixer} seed {run.seed}: {run.outcome}, {run.reason}"
        for mixer, each in runs.items()
        for run in each
        if run.outcome != "ok"
    ]
    return "\n".join(lines)


def _row(
    held: Tryout, mixer: str, each: Sequence[Run], runs: Mapping[str, Sequence[Run]]
) -> dict[str, Any]:
    first, scores = held.mixers[0], [run.accuracy for run in each]
    solved = sum(run.solved for run in each)
    rate = success_rate(solved, len(each))
    row = {
        "mixer": mixer,
        held.task.metric: f"{median(scores):.3f}",
        "99%": "{:.3f} - {:.3f}".format(*median_accuracy(each)),
        "bootstrap 99%": "{:.3f} - {:.3f}".format(*bootstrap_median(scores)),
        "solved": f"{solved}/{len(each)}",
        "rate 99%": "{:.2f} - {:.2f}".format(*rate),
        "learning rate": each[0].rate,
        "parameters": each[0].parameters,
        "state (elements)": each[0].state_size,
        "flops a token": each[0].flops,
        "seconds a run": f"{sum(run.seconds for run in each) / len(each):.1f}",
    }
    if mixer != first and len(runs.get(first, ())) == len(each):
        gain = paired_difference(each, runs[first])
        row[f"minus {first}, 99%"] = "{:+.3f} - {:+.3f}".format(*gain)
    return row
