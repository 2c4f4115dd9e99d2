"""Measuring on this machine: for asv, for one question of the command line, for a whole suite.

A group is one op at one problem, its contestants measured together in a process of their own, or
one task with its mixers, or, before all else, what the machine can do at best. ``run_suite`` stores
a group as soon as it is measured, skips what is there for this commit, is stopped by its budget, and
keeps what it has when it is interrupted.
"""

import contextlib
import functools
import os
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..hardware import machine, nvml
from ..lab.contestant import contestant, turned
from ..record.measurement import Measurement, dims
from . import ceilings, store, suite, tuned
from .checkout import TREE, Commit
from .contest import Outcome, Problem
from .isolation import OutOfTime, hold_apart
from .metrics import FORWARD_TRACE, KERNEL, METRICS, TRAINING_TRACE, Way, find
from .trackers import Cache

if TYPE_CHECKING:
    from impl.registry import Plugin

    from ..lab.agenda import Tryout
    from ..lab.training.run import Run
    from ..verdict.claims import Case

Say = Callable[[str, str], None]
ROUNDS = 15


def default_device() -> str:
    """Where this machine measures: its first GPU, or the CPU; ``MADBENCH_DEVICE`` overrules."""
    return os.environ.get("MADBENCH_DEVICE") or ("cuda" if nvml.gpu()[0] else "cpu")


def measure(
    plugins: Sequence[str],
    sizes: str,
    dtype: str = "float32",
    metrics: Sequence[str] = KERNEL,
    *,
    device: str | None = None,
    rounds: int = ROUNDS,
    seconds: float | None = None,
    say: Say | None = None,
) -> list[Measurement]:
    """Measure plugins of one op, or mixers as layers, on one problem, together.

    ValueError says why when the problem is no problem of the op or nothing could be measured.
    """
    for metric in metrics:
        find(metric)
    op, layers = _common_op(plugins)
    problem = Problem(
        op=op,
        layers=layers,
        plugins=tuple(plugins),
        sizes=dims(sizes),
        dtype=dtype,
        device=device or default_device(),
        metrics=tuple(metrics),
        rounds=rounds,
        seconds=seconds,
    )
    results = hold_apart(tuned.settled(problem), say)
    found = [each for each in store.measurements(problem, results) if each.metric in metrics]
    if not found:
        raise ValueError("; ".join(f"{each.plugin}: {each.reason}" for each in results.outcomes))
    return found


def cache(contest: suite.Contest) -> Cache:
    """Hold a contest on all its problems: what asv's ``setup_cache`` keeps for its trackers."""
    found = {}
    for problem in problems(contest, default_device()):
        results = hold_apart(tuned.settled(problem))
        for each in results.figures:
            key = (each.plugin, store.sizes_name(problem.sizes), problem.dtype, each.metric)
            found[key] = (each.samples, store.round_name(results))
    return found


def problems(contest: suite.Contest, device: str) -> Iterator[Problem]:
    """The problems of a contest, each with the metrics that are taken on it."""
    for sizes in contest.all_sizes:
        timed = sizes in contest.sizes
        traced = () if sizes not in contest.modelled_sizes else FORWARD_TRACE
        traced += () if sizes not in contest.trained_sizes else TRAINING_TRACE
        metrics = [
            name
            for name in KERNEL
            if (name in traced if METRICS[name].way is Way.TRACE else timed or METRICS[name].exact)
        ]
        for dtype in contest.dtypes:
            yield Problem(
                op=contest.op,
                layers=contest.layers,
                plugins=contest.plugins,
                sizes=dims(sizes),
                dtype=dtype,
                device=device,
                metrics=tuple(metrics),
                rounds=ROUNDS,
                seconds=contest.seconds,
                rivals=_rivals(contest, sizes) if timed else {},
            )


def _rivals(contest: suite.Contest, sizes: str) -> Mapping[str, tuple[str, Mapping[str, int]]]:
    found = {each.plugin: (each.op, each.sizes(dims(sizes))) for each in contest.rivals}
    return {name: (op, theirs) for name, (op, theirs) in found.items() if theirs}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run of a suite did."""

    measured: int
    """Groups measured now."""
    there: int
    """Groups that were there for this commit."""
    left: tuple[str, ...]
    """Groups the budget did not hold, or that an interrupt left."""
    outcomes: tuple[Outcome, ...]
    """Why figures are missing."""
    seconds: float
    interrupted: bool
    """Whether Ctrl-C ended it."""


def run_suite(
    name: str,
    budget_s: float | None = None,
    *,
    claims_first: bool = False,
    case: "Case | None" = None,
    out: Path | None = None,
    at: Commit | None = None,
    say: Callable[[str, str, str], None] | None = None,
) -> Ran:
    """Measure what a suite lacks for a commit, by default the tree's own, group by group, within ``budget_s`` seconds.

    ``claims_first`` begins with the ops that claims are about; with ``case`` only what the claims of
    one proposal speak of is measured, of a task only their mixers and the controls. ``say(group, plugin, stage)`` follows
    it. Ctrl-C ends the run and keeps every finished group, and of a task every finished run.
    """
    began = time.monotonic()
    deadline = began + budget_s if budget_s is not None else None
    todo = groups(name, claims_first=claims_first, case=case, out=out, at=at)
    measured, there, outcomes, interrupted = 0, 0, [], False
    while todo:
        group = todo[0]
        if group.is_there():
            there += 1
        else:
            tell = functools.partial(say, group.name) if say else None
            try:
                outcomes += group.measure(tell, deadline)
            except OutOfTime:
                break
            except KeyboardInterrupt:
                interrupted = True
                break
            measured += 1
        todo.pop(0)
    return Ran(
        measured=measured,
        there=there,
        left=tuple(group.name for group in todo),
        outcomes=tuple(outcomes),
        seconds=time.monotonic() - began,
        interrupted=interrupted,
    )


@dataclass(frozen=True)
class Group:
    """What is measured and stored at once: a problem's contestants, or a task's mixers."""

    name: str
    is_there: Callable[[], bool]
    measure: Callable[[Say | None, float | None], Sequence[Outcome]]
    """Measure and store, telling stages; the reasons of what is missing. OutOfTime at a deadline."""


def groups(
    name: str,
    *,
    claims_first: bool = False,
    case: "Case | None" = None,
    out: Path | None = None,
    at: Commit | None = None,
) -> list[Group]:
    """Everything a suite measures, in the order of the run: the clock before the training."""
    from ..lab import agenda, reproduction, tryout_record

    place, device = store.Place.of(out, at), default_device()
    todo = [
        (contest, problem)
        for contest in suite.load(name).contests
        for problem in problems(contest, device)
        if case is None or _speaks_of(case, problem)
    ]
    if claims_first:
        claimed = _claimed()
        todo.sort(key=lambda each: claimed.isdisjoint(each[1].plugins))
    # times are judged against the ceilings of the same run
    clocked = any(METRICS[name].way is Way.CLOCK for _, each in todo for name in each.metrics)
    found = [_calibrated(place, device)] if clocked else []
    found += [_timed(name, place, contest, problem) for contest, problem in todo]
    for held in agenda.tryouts(name):
        if case is None:
            found.append(_trained(name, place, device, held))
        elif mixers := reproduction.needed(case, held):
            part = tryout_record.part_of(name, held, mixers, device, place)
            found.append(_trained(name, place, device, part))
    return found


def _speaks_of(case: "Case", problem: Problem) -> bool:
    """Whether a claim that is about no training is about a contestant on this problem."""
    here = machine.record(problem.device)
    at = {"dtype": problem.dtype, "sizes": store.sizes_name(problem.sizes)}
    return any(
        claim.plugin in problem.plugins
        and METRICS[claim.metric].way is not Way.TRAINING
        and claim.covers(machine=(here.name, here.kind), **at)
        for claim in case.claims
    )


def _calibrated(place: store.Place, device: str) -> Group:
    def measure(say: Say | None, deadline: float | None) -> Sequence[Outcome]:
        if say:
            say("", "copies and matrix products")
        try:
            found = ceilings.measure(device, deadline)
        except RuntimeError as error:
            reason = f"no ceilings, so no efficiency: {error}"
            return [Outcome(plugin="machine", outcome="not run", reason=reason, again=True)]
        ceilings.keep(device, found, place)
        return []

    return Group(ceilings.GROUP, lambda: ceilings.are_kept(device, place), measure)


def _timed(name: str, place: store.Place, contest: suite.Contest, problem: Problem) -> Group:
    def measure(say: Say | None, deadline: float | None) -> Sequence[Outcome]:
        results = hold_apart(tuned.settled(problem), say, at=place.at, deadline=deadline)
        place.add(name, contest, problem, results)
        return results.outcomes

    return Group(store.group_name(problem), lambda: not place.lacking(name, problem), measure)


def _trained(name: str, place: store.Place, device: str, held: "Tryout") -> Group:
    from ..lab import tryout, tryout_record
    from ..lab.kept import Kept

    task = held.task.name

    def measure(say: Say | None, deadline: float | None) -> Sequence[Outcome]:
        def told(done: int, total: int, run: "Run") -> None:
            if say:
                say(run.mixer, f"seed {run.seed}, run {done} of {total}")

        kept = Kept.of(task, device, place.at)
        results, runs = tryout.hold(
            held,
            device=device,
            progress=told,
            kept=kept,
            deadline=deadline,
            at=place.at,
            # on a GPU a step is many small launches; on a CPU a run repeats to the bit by itself
            cohort=1 if device == "cpu" else len(held.seeds),
        )
        tryout_record.keep(name, held, results, runs, device, place)
        if not held.listed:
            kept.clear()
        return results.outcomes

    return Group(task, lambda: tryout_record.is_kept(name, held, device, place), measure)


def _claimed() -> "set[str]":
    """Plugins that a claims file needs; a broken file is the verdicts' to complain about."""
    found: set[str] = set()
    for file in (TREE / "suites" / "claims").glob("*/*.toml"):
        with contextlib.suppress(tomllib.TOMLDecodeError):
            found.update(tomllib.loads(file.read_text()).get("needs", ()))
    return found


def _common_op(plugins: Sequence[str]) -> tuple[str, bool]:
    """The op of all the plugins, or ``layer`` for mixers, and whether these are layers."""
    known = {each: _plugin(each) for each in plugins}
    mixers = [each for each, plugin in known.items() if plugin.kind == "mixer"]
    if mixers and len(mixers) == len(known):
        for each in mixers:
            contestant(each)
        return "layer", True
    if mixers:
        others = ", ".join(known.keys() - set(mixers))
        raise ValueError(f"{mixers[0]} is a mixer, not timed together with {others}")
    for each, plugin in known.items():
        turned(each, plugin)
    ops = {plugin.op for plugin in known.values()}
    if len(ops) != 1 or None in ops:
        raise ValueError(f"plugins of {len(ops)} ops ({', '.join(map(str, ops))}), want one op")
    return str(ops.pop()), False


def _plugin(spec: str) -> "Plugin":
    """The plugin behind an id, which may carry knobs, or in a file."""
    from impl.registry import load, lookup

    bare = spec.partition("(")[0]
    return load(bare) if ".py:" in bare else lookup(bare)
