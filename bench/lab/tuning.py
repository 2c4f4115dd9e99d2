"""Learning rates: swept once on seeds of their own, committed, then frozen.

Every mixer gets the rates of the task, the same two tuning seeds and half the budget, so that no idea wins
by more trials, and no score is the best of a sweep. Kept is the rate with the earliest median
threshold, among equals the best median score at the trained length, then the smaller rate.
The whole sweep stays in the file: how wide a mixer's window of rates is says something about it.

    python -m bench.lab.tuning mqar-T32 mixers.softmax 'mixers.deltanet(beta=2)'
    python -m bench.lab.tuning --suite published --device cuda    # all that have no rate yet; resumes
"""

import argparse
import dataclasses
import math
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.checkout import TREE
from ..engine.noise import median
from ..engine.ruler import from_tree
from .contestant import contestant
from .training.run import Job, Run
from .training.trainer import run_jobs

if TYPE_CHECKING:
    from suites.tasks import Task

SEEDS = (100, 101)
"""Seeds that choose a rate and never score."""
SHARE = 0.5
"""Of the task's budget, spent on each tuning run."""
FILE = TREE / "suites" / "tasks" / "learning_rates.toml"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One rate of a sweep: a figure for each tuning seed."""

    rate: float
    scores: tuple[float, ...]
    """At the trained length, in the metric of the task; that of a diverged run is the floor."""
    thresholds: tuple[float, ...]
    """Tokens until the trained length was solved, infinite when it never was."""


def learning_rate(mixer: str, task: "Task", file: Path = FILE) -> float:
    """The committed learning rate. ValueError says how to find one."""
    table = read(file).get(task.name, {})
    if mixer not in table:
        raise ValueError(
            f"no learning rate for {mixer} on {task.name}; to find one: "
            f"python -m bench.lab.tuning {task.name} '{mixer}'"
        )
    return float(table[mixer]["rate"])


def read(file: Path = FILE) -> dict[str, dict[str, Any]]:
    """Committed sweeps by task and mixer."""
    return tomllib.loads(file.read_text()) if file.exists() else {}


def sweep(
    task: "Task", mixers: Sequence[str], *, workers: int = 2, device: str = "cpu"
) -> dict[str, list[Trial]]:
    """Every rate of the task on every tuning seed, for each of ``mixers``."""
    # only the trained length chooses, and of finite text what is never scored
    draws = dict(task.draws)
    if "check" in draws:
        draws["test"] = draws["check"]
    tried = dataclasses.replace(task, lengths=(), draws=draws)
    jobs = [
        Job(
            mixer=mixer,
            task=tried,
            seed=seed,
            rate=rate,
            tokens=int(SHARE * task.tokens),
            device=device,
        )
        for mixer in mixers
        for rate in task.rates
        for seed in SEEDS
    ]
    runs = []
    for answer in run_jobs(
        jobs, workers=workers, progress=report, cohort=len(task.rates) * len(SEEDS)
    ):
        if isinstance(answer, Exception):
            raise answer
        runs.append(answer)
    return {mixer: [_trial(rate, mixer, runs) for rate in task.rates] for mixer in mixers}


def choose(task: "Task", trials: Sequence[Trial]) -> Trial:
    """The trial to keep: earliest median threshold, then best median score, then smallest rate."""
    return min(
        trials,
        key=lambda t: (median(t.thresholds), -task.normalised(median(t.scores)), t.rate),
    )


def write(task: "Task", sweeps: Mapping[str, Sequence[Trial]], file: Path = FILE) -> None:
    """Put the sweeps into the file, sorted, beside those of other tasks and mixers."""
    tables = read(file)
    for mixer, trials in sweeps.items():
        tables.setdefault(task.name, {})[mixer] = {
            "rate": choose(task, trials).rate,
            "sweep": [_row(trial) for trial in trials],
        }
    lines = ["# Written by bench/lab/tuning.py; a sweep is half a budget on two tuning seeds."]
    for name, mixers in sorted(tables.items()):
        for mixer, table in sorted(mixers.items()):
            lines += ["", f'[{name}."{mixer}"]', f"rate = {table['rate']}", "sweep = ["]
            lines += [f"    {_inline(row)}," for row in table["sweep"]] + ["]"]
    file.write_text("\n".join(lines) + "\n")


def _trial(rate: float, mixer: str, runs: Sequence[Run]) -> Trial:
    mine = [run for run in runs if run.mixer == mixer and run.rate == rate]
    return Trial(
        rate=rate,
        # rounded as in the file, so that the rate kept follows from what can be read there
        scores=tuple(round(run.accuracy_trained, 4) for run in mine),
        thresholds=tuple(
            math.inf if run.tokens_to_threshold is None else run.tokens_to_threshold for run in mine
        ),
    )


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "rate": trial.rate,
        "scores": list(trial.scores),
        "thresholds": ["never" if math.isinf(t) else int(t) for t in trial.thresholds],
    }


def _inline(row: Mapping[str, Any]) -> str:
    values = (f"{key} = {str(value).replace(chr(39), chr(34))}" for key, value in row.items())
    return "{ " + ", ".join(values) + " }"


def report(done: int, total: int, run: Run) -> None:
    """One line on standard error for the run that has just ended."""
    sys.stderr.write(
        f"[{done}/{total}] {run.task} {run.mixer} rate {run.rate:g} seed {run.seed}: "
        f"score {run.accuracy_trained:.3f} at the trained length, {run.accuracy:.3f} at the scored one, "
        f"{run.outcome}, {run.seconds:.1f} s\n"
    )


def main() -> None:
    """Sweep mixers of one task, or all of a suite that have no rate, and write the rates to the file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("task", nargs="?")
    parser.add_argument("mixers", nargs="*")
    parser.add_argument("--suite", help="every mixer of its tasks that has no rate yet")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    try:
        todo = list(_asked(given.task, given.mixers, given.suite))
    except ValueError as error:
        parser.error(str(error))
    for task, mixer in todo:
        # one at a time, so that what was found is kept when the time runs out
        write(task, sweep(task, [mixer], workers=given.workers, device=given.device))


def _asked(
    task_name: str | None, mixers: Sequence[str], suite_name: str | None
) -> Iterator[tuple["Task", str]]:
    from .agenda import tryouts

    if (task_name is None) == (suite_name is None) or bool(mixers) != bool(task_name):
        raise ValueError("want a task and its mixers, or --suite")
    if suite_name:
        known = read()
        for held in tryouts(suite_name):
            have = known.get(held.task.name, {})
            yield from ((held.task, mixer) for mixer in held.mixers if mixer not in have)
    elif task_name:
        task = from_tree("suites.tasks").find(task_name)
        for mixer in mixers:
            contestant(mixer)
            yield task, mixer


if __name__ == "__main__":
    main()
