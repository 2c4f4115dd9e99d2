"""Tuning: the settings of one plugin against each other on one problem, and the one that is kept.

Every setting is a contestant of its own: the contract admits it, its answer at these sizes is held to
the reference, and those that are left are timed in interleaved rounds, in a process of their own. The
code's own setting stays unless another is surely faster, all others being tried at once: at 99% over
them together. A run never tunes, so no figure is the best of the trials that made it.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..hardware import machine
from ..lab.contestant import spelled
from ..lab.workers import OutOfTime
from ..record import setting
from . import checkout, noise, runner, store, suite, tuned
from .checkout import CODE
from .contest import Problem, Results
from .isolation import hold_apart
from .tuned import Choice, Trial

METRICS = ("time", "train_time")
DIGITS = 4
"""Significant digits of a figure that is kept."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run of the command did."""

    file: Path
    chosen: tuple[Choice, ...]
    there: int
    """Problems tuned before, at this commit and with this stack."""
    left: tuple[str, ...]
    """Problems that the budget did not hold, or on which no setting could be timed, with the reason."""


def tune(
    name: str,
    device: str,
    *,
    ops: Collection[str] = (),
    plugins: Collection[str] = (),
    budget_s: float | None = None,
    out: Path | None = None,
    again: bool = False,
    say: runner.Say | None = None,
) -> Ran:
    """Choose settings for what a suite times on this machine, problem by problem.

    Each choice is written as soon as it is made; what this commit and stack have chosen before is
    passed over, but for ``again``. ValueError for code that no commit could name, unless ``out`` is
    another folder.
    """
    import torch  # noqa: F401  the stack names the threads only of a torch that is there

    deadline = time.monotonic() + budget_s if budget_s is not None else None
    commit = _commit(strict=out is None)
    file = (out or tuned.FOLDER) / f"{machine.record(device).name}.toml"
    todo = list(races(name, device, ops=ops, plugins=plugins))
    if not todo:
        raise ValueError(f"nothing of suite {name!r} that is asked for has knobs and is timed here")
    chosen, left, there = [], [], 0
    for at, (plugin, problem) in enumerate(todo):
        stored = tuned.known(file).get((plugin, store.sizes_name(problem.sizes), problem.dtype))
        if stored and not again and (stored.commit, stored.stack) == (commit, machine.stack()):
            there += 1
            continue
        try:
            found = race(plugin, problem, commit, deadline=deadline, say=say)
        except OutOfTime:
            left += [f"{each}, {store.group_name(one)}: out of time" for each, one in todo[at:]]
            break
        if isinstance(found, str):
            left.append(f"{plugin}, {store.group_name(problem)}: {found}")
            continue
        tuned.keep(file, found)
        chosen.append(found)
    return Ran(file=file, chosen=tuple(chosen), there=there, left=tuple(left))


def races(
    name: str, device: str, *, ops: Collection[str] = (), plugins: Collection[str] = ()
) -> Iterator[tuple[str, Problem]]:
    """Plugins that have settings and a time on this device, with every problem that a suite times."""
    contests = [each for each in suite.load(name).contests if not each.layers]
    for wanted, have in (
        (ops, {each.op for each in contests}),
        (plugins, {plugin for each in contests for plugin in each.plugins}),
    ):
        if unknown := sorted(set(wanted) - have):
            raise ValueError(
                f"suite {name!r} has no {unknown[0]!r}, want {', '.join(sorted(have))}"
            )
    for contest in (each for each in contests if not ops or each.op in ops):
        for problem in runner.problems(contest, device):
            for plugin in (each for each in contest.plugins if not plugins or each in plugins):
                about = suite.of_this_tree(plugin)
                silent = about.missing() or ("triton" in about.needs and device == "cpu")
                if "time" in problem.metrics and about.knobs and not silent:
                    yield plugin, problem


def race(
    plugin: str,
    problem: Problem,
    commit: str,
    *,
    deadline: float | None = None,
    say: runner.Say | None = None,
) -> Choice | str:
    """Time all settings of a plugin on a problem and choose, or why nothing can be chosen."""
    settings = contestants(plugin)
    metrics = tuple(each for each in METRICS if each in problem.metrics)
    one = replace(problem, plugins=tuple(settings), metrics=metrics, rivals={}, knobs={})
    results = hold_apart(one, say, deadline=deadline)
    found = decide(plugin, settings, results)
    if isinstance(found, str):
        return found
    knobs, metric, tried = found
    return Choice(
        plugin=plugin,
        sizes=store.sizes_name(problem.sizes),
        dtype=problem.dtype,
        knobs=knobs,
        metric=metric,
        commit=commit,
        stack=machine.stack(),
        tried=tried,
    )


def contestants(plugin: str) -> dict[str, dict[str, Any]]:
    """Every setting of a plugin under the id it is timed as; its own, with no knobs named, first."""
    import inspect

    from impl.registry import load

    loaded = load(plugin)
    assert loaded.run is not None
    parameters = inspect.signature(loaded.run).parameters
    own = {name: parameters[name].default for name in loaded.knobs}
    others = [each for each in setting.every(loaded.knobs) if each != own]
    return {plugin: {}, **{spelled(plugin, each): each for each in others}}


def decide(
    plugin: str, settings: Mapping[str, Mapping[str, Any]], results: Results
) -> tuple[Mapping[str, Any], str, tuple[Trial, ...]] | str:
    """The knobs to keep, the metric that decided and all trials; or why there is none to decide by.

    The own setting stays unless another takes surely less in the same rounds. Where the own setting
    has no time, there is nothing to beat, and nothing is chosen.
    """
    samples = {
        metric: {each.plugin: each.samples for each in results.figures if each.metric == metric}
        for metric in METRICS
    }
    metric = next((each for each in reversed(METRICS) if plugin in samples[each]), None)
    if metric is None or any(each.again for each in results.outcomes):
        return _reason(results, plugin)
    times = samples[metric]
    confidence = 1 - (1 - noise.CONFIDENCE) / max(1, len(times) - 1)
    if len(times[plugin]) < (wanted := noise.samples_needed(confidence)):
        return f"{len(times[plugin])} rounds were undisturbed, want at least {wanted}"
    ratios = {
        each: noise.paired_ratio(times[each], times[plugin], confidence)
        for each in times
        if each != plugin
    }
    faster = [each for each, ratio in ratios.items() if ratio.high < 1]
    best = min(faster, key=lambda each: (noise.median(times[each]), each), default=plugin)
    tried = []
    for each, knobs in settings.items():
        if each not in times:
            tried.append(Trial(knobs=knobs, refused=_reason(results, each)))
            continue
        figures: dict[str, Any] = {name: _told(samples[name].get(each, ())) for name in METRICS}
        if each in ratios:
            middle = noise.median([x / y for x, y in zip(times[each], times[plugin], strict=True)])
            figures["ratio"] = _rounded([middle, *ratios[each]])
        tried.append(Trial(knobs=knobs, **figures))
    return settings[best], metric, tuple(tried)


def _reason(results: Results, contestant: str) -> str:
    reasons = [
        f"{each.outcome}: {each.reason}" for each in results.outcomes if each.plugin == contestant
    ]
    return "; ".join(dict.fromkeys(reasons)) or "no figure"


def _told(samples: Sequence[float]) -> tuple[float, ...]:
    if not samples:
        return ()
    return _rounded([noise.median(samples), *noise.median_interval(samples)])


def _rounded(figures: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(f"{each:.{DIGITS}g}") for each in figures)


def _commit(*, strict: bool) -> str:
    """The commit whose code is timed; what was tuned before does not make it another."""
    try:
        others = [":(exclude)suites/tuned"]
        changed = checkout.git("status", "--porcelain", "--", *CODE, *others)
    except Exception as error:  # no git, no repository
        changed = f"it cannot be told from its commit: {error}"
    if changed and strict:
        raise ValueError("code that is not committed, want a commit to name, or --out FOLDER")
    return "uncommitted" if changed else checkout.here().hash
