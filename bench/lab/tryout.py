"""Tryout: mixers of one task, trained on the same seeds, as measurements.

    python -m bench.lab.tryout tasks            every task of suites/tasks.toml, with a table
    python -m bench.lab.tryout tasks mqar-T48   one of them

A suite lists ``[tasks.<name>]`` with ``mixers``, ``seeds`` (how many, from 0) and, where it is not
the task's own, ``tokens``. ``[tasks.<name>.more]`` gives those mixers that a verdict rests on more
seeds. The controls of the task always run. A mixer must obey the mixer laws before it is trained, and
trains at the committed learning rate: nothing here sweeps.
"""

import argparse
import dataclasses
import hashlib
import importlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine import checkout, runner, store, suite
from ..engine.admission import Admission, laws
from ..engine.checkout import Commit
from ..engine.contest import Figure, Results
from ..engine.metrics import METRICS
from ..engine.noise import median, median_interval
from ..engine.ruler import from_tree
from ..engine.trackers import Cache
from ..hardware import machine
from ..record import result_file
from ..record.benchmark_name import TASKS, class_name
from ..record.measurement import Measurement
from .kept import Kept
from .seeds import (
    bootstrap_median,
    controls,
    judged,
    median_accuracy,
    paired_difference,
    success_rate,
    unequal,
)
from .training import Job, Run, contestant, run_jobs
from .tuning import learning_rate, report
from .workers import each_apart

if TYPE_CHECKING:
    from suites.tasks import Task

TRACKED = ("accuracy", "accuracy_trained", "tokens_to_threshold", "loss", "contract")
"""Metrics of a mixer on a task, as ``bench/tasks.py`` tracks them."""
KEYS = {"mixers", "seeds", "tokens", "more"}
DTYPE = "float32"
Progress = Callable[[int, int, Run], None]


@dataclass(frozen=True, kw_only=True)
class Tryout:
    """One task and the mixers that meet on it."""

    task: "Task"
    mixers: tuple[str, ...]
    seeds: tuple[int, ...]
    tokens: int
    listed: tuple[str, ...] = ()
    """Mixers of the suite where ``mixers`` are only some of them."""
    more: Mapping[str, int] = field(default_factory=dict)
    """Seeds of the mixers that have more of them."""

    def seeds_of(self, mixer: str) -> tuple[int, ...]:
        """The seeds of one mixer, the first of them those of every mixer."""
        return tuple(range(self.more.get(mixer, len(self.seeds))))

    @property
    def subject(self) -> str:
        """The task's name as the record makes a class name of it."""
        return self.task.name.replace("-", "_")

    @property
    def tracked(self) -> tuple[str, ...]:
        """Metrics of this task: its own score, and what all tasks have."""
        if self.task.metric == "accuracy":
            return TRACKED
        own = {"accuracy": self.task.metric}
        # a loss is told in nat, which a signal's is not
        left_out = ("accuracy_trained", "loss") if self.task.signal else ("accuracy_trained",)
        return tuple(own.get(name, name) for name in TRACKED if name not in left_out)

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Parameters of asv's class, the same as those of the kernels'."""
        return {"plugin": self.listed or self.mixers, "sizes": (self.task.name,), "dtype": (DTYPE,)}

    @property
    def version(self) -> str:
        """Changes when the task, its budget or the rates do, never when a mixer is added."""
        settled: dict[str, Any] = {
            name: value
            for name, value in vars(self.task).items()
            if isinstance(value, int | float | str) and name not in ("says", "metric", "best")
        }
        if self.task.metric != "accuracy":
            settled |= {"metric": self.task.metric, "best": self.task.best}
        if self.task.curriculum:
            settled["curriculum"] = self.task.curriculum
        return hashlib.sha256(repr((settled, self.seeds, self.tokens)).encode()).hexdigest()[:12]


def tryouts(name: str) -> Iterator[Tryout]:
    """The tryouts of the suite called ``name``. ValueError says what is wrong with its tables."""
    find = from_tree("suites.tasks").find
    for task_name, table in suite.load(name).tasks.items():
        where = f"suites/{name}.toml [tasks.{task_name}]"
        if unknown := set(table) - KEYS:
            raise ValueError(f"{where}: unknown {', '.join(sorted(unknown))}; want {sorted(KEYS)}")
        if missing := {"mixers", "seeds"} - set(table):
            raise ValueError(f"{where}: no {', '.join(sorted(missing))}")
        try:
            held = tryout(find(task_name), table["mixers"], table["seeds"], table.get("tokens"))
            yield _with_more(held, table.get("more", {}))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def tryout(task: "Task", mixers: Sequence[str], seeds: int, tokens: int | None = None) -> Tryout:
    """A tryout of ``mixers`` and the task's controls on seeds 0 ... ``seeds`` - 1."""
    if seeds < 1:
        raise ValueError(f"seeds = {seeds}, want at least 1")
    everyone = tuple(dict.fromkeys([*mixers, *task.must_pass, *task.must_fail]))
    for mixer in everyone:
        # of this tree: an older commit may lack it, and it is then not run there
        contestant(mixer, suite.of_this_tree)
    return Tryout(
        task=task, mixers=everyone, seeds=tuple(range(seeds)), tokens=tokens or task.tokens
    )


def _with_more(held: Tryout, more: Mapping[str, Any]) -> Tryout:
    """The tryout with more seeds for those that ``more`` names."""
    if strangers := set(more) - set(held.mixers):
        raise ValueError(f"more has {', '.join(sorted(strangers))}, want some of its mixers")
    for mixer, seeds in more.items():
        if not isinstance(seeds, int) or seeds <= len(held.seeds):
            raise ValueError(f"more seeds of {mixer}: {seeds!r}, want more than {len(held.seeds)}")
    return dataclasses.replace(held, more=dict(more))


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


def measurements(
    held: Tryout, results: Results, device: str = "cpu", at: Commit | None = None
) -> Iterator[Measurement]:
    """What a tryout left, as measurements of this machine at a commit, by default the tree's own."""
    here, at = machine.record(device), at or checkout.here()
    broken = {f.plugin: f.samples[0] for f in results.figures if f.metric == "contract"}
    for figure in results.figures:
        metric = METRICS[figure.metric]
        yield Measurement(
            plugin=figure.plugin,
            metric=metric.name,
            unit=metric.unit,
            sizes=held.task.name,
            dtype=DTYPE,
            machine=here.name,
            kind=here.kind,
            samples=figure.samples,
            low=figure.low,
            high=figure.high,
            modelled=metric.modelled,
            contract="wrong" if broken[figure.plugin] else "ok",
            commit=at.hash,
            group=f"{at.hash}:{held.task.name}:{store.round_name(results)}",
            stack=here.stack,
        )


def is_kept(suite_name: str, held: Tryout, device: str, place: store.Place) -> bool:
    """Whether figures of the tryout are stored for this commit, of every mixer if it is a part."""
    if held.listed:
        return set(held.mixers) <= stored(suite_name, held, device, place)
    return place.has(device, _stored_as(suite_name, held))


def stored(suite_name: str, held: Tryout, device: str, place: store.Place) -> set[str]:
    """Mixers of which figures of the tryout are stored for this commit."""
    file = place.file(device)
    about = f"{place.at.hash}:{class_name(suite_name, held.subject)}:"
    found = result_file.read(file) if file.is_file() else []
    return {each.plugin for each in found if each.group.startswith(about)}


def part_of(
    suite_name: str, held: Tryout, mixers: Sequence[str], device: str, place: store.Place
) -> Tryout:
    """The tryout for some of its mixers, and those already stored: all meet in one group again."""
    there = stored(suite_name, held, device, place)
    some = tuple(mixer for mixer in held.mixers if mixer in there or mixer in mixers)
    return dataclasses.replace(held, mixers=some, listed=held.mixers)


def keep(
    suite_name: str,
    held: Tryout,
    results: Results,
    runs: Mapping[str, Sequence[Run]],
    device: str,
    place: store.Place,
) -> None:
    """Store the figures where asv's own lie, and the learning curves beside them."""
    found: dict[str, dict[tuple[str, ...], tuple[float, ...]]] = {name: {} for name in held.tracked}
    for figure in results.figures:
        found[figure.metric][figure.plugin, held.task.name, DTYPE] = figure.samples
    place.write(
        device,
        _stored_as(suite_name, held),
        (held.version, tuple(held.axes.values())),
        found,
        set(itertools.product(held.mixers, (held.task.name,), (DTYPE,))),
        store.round_name(results),
    )
    curves = [_curve(run) for each in runs.values() for run in each]
    place.keep_curves(device, [suite_name, held.task.name], curves)


def _curve(run: Run) -> dict[str, Any]:
    """What is stored of a run beside its figures; tokens that it took are a figure already."""
    names = ("mixer", "seed", "rate", "tokens", "outcome", "reason", "accuracy", "by_length")
    names += ("losses", "accuracies", "gradients", "parameters", "state_size", "flops", "cohort")
    return {name: getattr(run, name) for name in names}


def _stored_as(suite_name: str, held: Tryout) -> str:
    return f"{TASKS}.{class_name(suite_name, held.subject)}"


def controls_of(found: Iterable[Measurement]) -> dict[str, dict[str, str]]:
    """``controls`` of every task that measurements speak of, each at its newest commit."""
    tasks = from_tree("suites.tasks").settings()
    groups: dict[str, dict[tuple[str, str, str], dict[str, Sequence[float]]]] = {}
    for each in found:
        if each.sizes in tasks and each.metric == tasks[each.sizes].metric:
            when = (each.committed, each.date, each.group)
            groups.setdefault(each.sizes, {}).setdefault(when, {})[each.plugin] = each.samples
    return {name: judged(tasks[name], held[max(held)]) for name, held in groups.items()}


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
