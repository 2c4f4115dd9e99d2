"""Tryout: mixers of one task, trained on the same seeds, as measurements.

    python -m bench.lab.tryout tasks            every task of suites/tasks.toml, with a table
    python -m bench.lab.tryout tasks mqar-T48   one of them

A mixer must obey the mixer laws before it is trained, and trains at the committed learning rate:
nothing here sweeps.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine import runner, store
from ..engine.admission import Admission, laws
from ..engine.checkout import Commit
from ..engine.contest import Figure, Results
from ..engine.noise import median_interval
from ..engine.trackers import Cache
from .agenda import DTYPE, LADDER, Tryout, tryouts
from .kept import Kept
from .ladder import largest_rates
from .scoreboard import show
from .seeds import median_accuracy
from .training.run import Job, Run
from .training.trainer import run_jobs
from .tryout_record import keep
from .tuning import learning_rate, report
from .workers import each_apart

if TYPE_CHECKING:
    from suites.tasks import Task

Progress = Callable[[int, int, Run], None]


def hold(
    held: Tryout,
    *,
    device: str = "cpu",
    workers: int = 2,
    progress: Progress | None = None,
    kept: Kept | None = None,
    deadline: float | None = None,
    at: Commit | None = None,
    cohort: int = 1,
) -> tuple[Results, dict[str, list[Run]]]:
    """Check the laws, then train every mixer on every seed; figures with reasons, and the runs.

    The mixers are those of ``at``, by default of this tree. A run that was ``kept`` is not trained again. OutOfTime at ``deadline``.
    Up to ``cohort`` seeds of a mixer train together where that is faster; by default none do, since
    a run then repeats to the bit whatever it was trained beside.
    """
    results = Results()
    if lacking := _lacking(held.task):
        for mixer in held.mixers:
            results.missing(mixer, "not run", lacking, held.task.metric)
        return results, {}
    rated = _rated(held, results)
    fit = [m for m in _admitted(held, results, workers, deadline, at) if m in rated]
    jobs = [
        Job(
            mixer=mixer,
            task=held.task,
            seed=seed,
            rate=rated[mixer],
            tokens=held.tokens,
            device=device,
        )
        for seed in range(max(len(held.seeds), *held.more.values(), 0))
        for mixer in fit
        if seed in held.seeds_of(mixer)
    ]
    runs: dict[str, list[Run]] = {mixer: [] for mixer in fit}
    answers = _train(jobs, workers, progress, kept, deadline, at, cohort)
    for job, answer in zip(jobs, answers, strict=True):
        if isinstance(answer, Run):
            runs[job.mixer].append(answer)
        else:
            results.missing(job.mixer, "wrong", f"seed {job.seed}: {answer}")
    ladder = {mixer: rated[mixer] for mixer in held.ladder if mixer in fit}

    def train(jobs: Sequence[Job]) -> list[Run | Exception]:
        return _train(jobs, workers, progress, kept, deadline, at, cohort)

    for mixer, found in largest_rates(held, ladder, train, device).items():
        samples, reason = ((), found) if isinstance(found, str) else (found, "")
        _or_missing(mixer, LADDER, samples, reason, results)
    for mixer, each in runs.items():
        # a seed that is missing would be paired with another one
        if len(each) == len(held.seeds_of(mixer)):
            _figures(held, mixer, each, results)
    return results, runs


def _lacking(task: "Task") -> str:
    """What the task needs and this machine has not, or nothing."""
    try:
        for split in task.draws:
            task.draw_of(split)(task.stream("count", 0), 1, task.length)
        task.draw(task.stream("count", 0), 1, task.length)
    except ValueError as error:
        return str(error)
    return ""


def _rated(held: Tryout, results: Results) -> dict[str, float]:
    """The committed learning rates; a mixer that has none is not run, and says how to find one."""
    rates = {}
    for mixer in held.mixers:
        try:
            rates[mixer] = learning_rate(mixer, held.task)
        except ValueError as error:
            results.missing(mixer, "not run", str(error), held.task.metric)
    return rates


def cache(held: Tryout) -> Cache:
    """Hold a tryout on the machine's device: what asv's ``setup_cache`` keeps for its trackers."""
    results, _ = hold(held, device=runner.default_device(), progress=report)
    number = store.round_name(results)
    return {
        (f.plugin, held.task.name, DTYPE, f.metric): (f.samples, number) for f in results.figures
    }


def _train(
    jobs: Sequence[Job],
    workers: int,
    progress: Progress | None,
    kept: Kept | None,
    deadline: float | None,
    at: Commit | None,
    cohort: int,
) -> list[Run | Exception]:
    """``run_jobs`` for the jobs whose run is not kept; every new one is, as soon as it ends."""
    there = {i: run for i, job in enumerate(jobs) if kept and (run := kept.find(job))}
    rest = [i for i in range(len(jobs)) if i not in there]

    def ended(done: int, _: int, run: Run) -> None:
        if kept:
            kept.add(run, jobs[0].device)
        if progress:
            progress(len(there) + done, len(jobs), run)

    todo = [jobs[i] for i in rest]
    answers = run_jobs(
        todo, workers=workers, progress=ended, deadline=deadline, at=at, cohort=cohort
    )
    found = {**there, **dict(zip(rest, answers, strict=True))}
    return [found[i] for i in range(len(jobs))]


def _admitted(
    held: Tryout, results: Results, workers: int, deadline: float | None, at: Commit | None
) -> Iterator[str]:
    answers = dict(each_apart(laws, held.mixers, workers=workers, deadline=deadline, at=at))
    for number, mixer in enumerate(held.mixers):
        found = answers[number]
        if isinstance(found, Exception):
            found = Admission("wrong", 1, f"its laws: {found}")
        if found.outcome != "not run":
            results.exact(mixer, "contract", found.failing)
        if found.admitted:
            yield mixer
        else:
            results.missing(mixer, found.outcome, found.reason)


def _figures(held: Tryout, mixer: str, runs: Sequence[Run], results: Results) -> None:
    low, high = median_accuracy(runs)
    samples = tuple(run.accuracy for run in runs)
    results.figures.append(
        Figure(plugin=mixer, metric=held.task.metric, samples=samples, low=low, high=high)
    )
    if "accuracy_trained" in held.tracked:
        trained = [run.accuracy_trained for run in runs]
        _or_missing(mixer, "accuracy_trained", trained, "", results)
    thresholds = [run.tokens_to_threshold for run in runs]
    never = thresholds.count(None)
    _or_missing(
        mixer,
        "tokens_to_threshold",
        [] if never else [float(each) for each in thresholds if each is not None],
        f"{never} of {len(runs)} seeds never reached the threshold",
        results,
    )
    if "loss" not in held.tracked:
        return
    diverged = sum(run.outcome == "diverged" for run in runs)
    _or_missing(
        mixer,
        "loss",
        [] if diverged else [run.losses[-1][1] for run in runs],
        f"{diverged} of {len(runs)} seeds diverged",
        results,
    )


def _or_missing(
    mixer: str, metric: str, samples: Sequence[float], reason: str, results: Results
) -> None:
    if not samples:
        results.missing(mixer, "not run", reason, metric)
        return
    low, high = median_interval(samples)
    results.figures.append(
        Figure(plugin=mixer, metric=metric, samples=tuple(samples), low=low, high=high)
    )


def main() -> None:
    """Hold the tryouts of a suite, print a table of each, and store the figures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("suite")
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cohort", type=int, default=1, help="seeds of a mixer trained together")
    parser.add_argument("--device", default=runner.default_device())
    parser.add_argument("--out", type=Path, help="folder for the figures, instead of results/")
    given = parser.parse_args()
    try:
        held = [t for t in tryouts(given.suite) if not given.tasks or t.task.name in given.tasks]
    except ValueError as error:
        parser.error(str(error))
    for each in held:
        results, runs = hold(
            each,
            device=given.device,
            workers=given.workers,
            progress=report,
            cohort=given.cohort,
        )
        keep(given.suite, each, results, runs, given.device, store.Place.of(given.out))
        sys.stdout.write(show(each, results, runs) + "\n")


if __name__ == "__main__":
    # what is sent to another process must have been imported by its name
    sys.exit(importlib.import_module("bench.lab.tryout").main())
