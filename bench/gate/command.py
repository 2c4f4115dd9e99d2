"""``madbench gate``: what a change does to every figure that it can touch, and the answer.

    reach -> contract, error and trace of both sides -> scores -> binaries -> clock

The base's plugins are measured in processes that import the base, the head's in processes that
import the head; the ruler and the suite are those of this checkout for both. Nothing is stored.
"""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..engine import checkout, runner, suite
from ..engine.checkout import Commit
from ..engine.contest import Problem
from ..engine.store import sizes_name
from ..hardware import machine
from ..lab import agenda
from . import binaries, exact, sides
from .allowance import settings
from .exact import Place, Score
from .finding import Answer
from .pairings import pairings
from .reach import reach
from .report import Report
from .sides import Sights
from .work import Tell, Work

STACK_FILES = ("pyproject.toml", "constraints.txt")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the gate is asked for."""

    suite: str = ""
    """By default ``smoke`` on a CPU and ``core`` on a GPU."""
    everything: bool = False
    """Whether every plugin is measured, not only those that the change can touch."""
    clock: bool | None = None
    """Whether times are compared; by default where there is a GPU."""
    budget_s: float | None = None
    """Seconds for the clock; by default those of ``suites/gate.toml``."""


def gate(base: Commit, head: Commit, asked: Asked, tell: Tell) -> Report:
    """Compare two commits. ValueError for a suite that is not there."""
    device = runner.default_device()
    name = asked.suite or ("smoke" if device == "cpu" else "core")
    held = suite.load(name)
    clock = asked.clock if asked.clock is not None else device != "cpu"
    told = settings()
    budget = asked.budget_s if asked.budget_s is not None else told.budget_s
    tell(f"reach of {base.hash[:12]} .. {head.hash[:12]}")
    touched = reach(base.tree, head.tree, everything=asked.everything)
    work = Work(base=base, head=head, touched=touched, device=device, told=told, tell=tell)
    notes = [*touched.notes, *_stack_notes(base, head), *_clock_notes(device, clock=clock)]
    if not _unreadable(work):
        _lines(work)
        _contests(work, held.contests)
        _tasks(work, name)
        _others(work, notes)
        _binaries(work)
        if clock:
            _clock(work, budget)
    return Report(
        findings=tuple(work.findings),
        base=base,
        head=head,
        suite=name,
        device=device,
        machine=machine.record(device).name,
        stack=machine.stack(),
        ruler=checkout.here(),
        reach=touched,
        everything=asked.everything,
        clock=clock,
        budget_s=budget,
        notes=tuple(notes),
    )


def _unreadable(work: Work) -> bool:
    """Whether a file of either side is no Python, or no plugin: nothing there can then be loaded."""
    before, after = work.touched.base.unreadable, work.touched.head.unreadable
    for file, reason in after.items():
        answer = Answer.UNCLEAR if file in before else Answer.REGRESSION
        work.line(file, answer, f"no plugin can be loaded at the head: {reason}")
    for file, reason in before.items():
        if file not in after:
            work.line(file, Answer.KEEP, f"mended: no plugin could be loaded at the base: {reason}")
    if before and not after:
        known = work.touched.head.plugins
        reached = [each for each in known if work.touched.changes(each)]
        work.touched = replace(work.touched, plugins=(), new=tuple(reached), removed=())
        return False
    return bool(after)


def _lines(work: Work) -> None:
    """Plugins that have no two sides to compare: new, removed, absent here."""
    touched = work.touched
    for each in touched.removed:
        work.line(each, Answer.KEEP, "removed: the head has no such plugin")
    for each in touched.plugins:
        before, after = (side.plugins[each].missing() for side in (touched.base, touched.head))
        if before and after:
            work.line(each, Answer.KEEP, f"absent here: {after}")
        elif after:
            work.line(each, Answer.UNCLEAR, f"ran here at the base, now absent here: {after}")
        elif before:
            work.line(each, Answer.KEEP, f"runs here now; at the base: {before}")
    absent = {each: touched.head.plugins[each].missing() for each in touched.new}
    for each, reason in absent.items():
        if reason:
            work.line(each, Answer.KEEP, f"new, no base; absent here: {reason}")
    present = [each for each, reason in absent.items() if not reason]
    found = sides.admitted(
        [(each, work.device) for each in present],
        work.head,
        lambda line: work.tell(f"head: {line}"),
    )
    for each in present:
        sight = found[each]
        answer = Answer.REGRESSION if sight.outcome == "wrong" else Answer.KEEP
        said = f", {sight.outcome}: {sight.reason}" if not sight.ok else ", its contract holds"
        work.line(each, answer, f"new, no base{said}")


def _contests(work: Work, contests: Sequence[suite.Contest]) -> None:
    """Contract, error and trace on the suite's problems."""
    for contest in _with_every_mixer(contests, work):
        plugins = _members(contest, work)
        for each in runner.problems(contest, work.device) if plugins else ():
            problem = replace(each, plugins=plugins, rivals={})
            where = f"{problem.op} {sizes_name(problem.sizes)}"
            work.tell(f"{where} {problem.dtype}: {', '.join(plugins)} on both sides")
            before, after = work.on_both(
                lambda at, tell, problem=problem: sides.exact(problem, at, tell)
            )
            fit = _compared(work, problem, before, after)
            if fit:
                work.fit.append((contest, replace(problem, plugins=tuple(fit))))


def _with_every_mixer(contests: Sequence[suite.Contest], work: Work) -> Iterator[suite.Contest]:
    """The contests; mixers that meet in none of the suite's layers join the first of them."""
    plugins = work.touched.head.plugins
    met = {
        each.partition("(")[0] for contest in contests if contest.layers for each in contest.plugins
    }
    others = [each for each in work.here if plugins[each].kind == "mixer" and each not in met]
    for contest in contests:
        if contest.layers and others:
            yield replace(contest, plugins=(*contest.plugins, *others))
            others = []
        else:
            yield contest


def _members(contest: suite.Contest, work: Work) -> tuple[str, ...]:
    """Contestants that are measured: plugins of the op, or mixers with their knobs."""
    if contest.layers:
        return tuple(each for each in contest.plugins if each.partition("(")[0] in work.here)
    plugins = work.touched.head.plugins
    return tuple(
        each
        for each in work.here
        if plugins[each].kind == "impl" and plugins[each].op == contest.op
    )


def _compared(work: Work, problem: Problem, before: Sights, after: Sights) -> list[str]:
    """Findings on one problem; the plugins that are ok on both sides."""
    fit = []
    for plugin in problem.plugins:
        work.measured.add(plugin.partition("(")[0])
        place = Place(plugin=plugin, sizes=sizes_name(problem.sizes), dtype=problem.dtype)
        broken = exact.outcome(place, before[plugin], after[plugin])
        if broken:
            work.findings.append(broken)
        else:
            fit.append(plugin)
            work.findings += exact.figures(place, before[plugin], after[plugin], work.told)
    return fit


def _tasks(work: Work, name: str) -> None:
    """Scores of the mixers that the change reaches, on the suite's tasks."""
    found: list[Score] = []
    for each in agenda.tryouts(name):
        mixers = tuple(mixer for mixer in each.mixers if mixer.partition("(")[0] in work.here)
        if mixers:
            found += _scored(work, replace(each, mixers=mixers))
    work.findings += exact.seeds(found, work.told)


def _scored(work: Work, held: agenda.Tryout) -> Iterator[Score]:
    """The scores on one task; what is not ok on both sides is a finding at once."""
    task = held.task.name
    work.tell(f"{task}: {', '.join(held.mixers)} on both sides, {len(held.seeds)} seeds")
    before, after = work.on_both(lambda at, tell: sides.trained(held, at, work.device, tell))
    for mixer in held.mixers:
        work.measured.add(mixer.partition("(")[0])
        place = Place(plugin=mixer, sizes=task, dtype=agenda.DTYPE)
        if broken := exact.outcome(place, before[mixer], after[mixer]):
            work.findings.append(broken)
            continue
        for each in exact.scores(place, before[mixer], after[mixer]):
            if isinstance(each, Score):
                yield each
            else:
                work.findings.append(each)


def _others(work: Work, notes: list[str]) -> None:
    """Plugins of which the suite measures nothing: their contract is asked for all the same."""
    others = [each for each in work.here if each not in work.measured]
    if not others:
        return
    asked = [(each, work.device) for each in others]
    before, after = work.on_both(lambda at, tell: sides.admitted(asked, at, tell))
    for each in others:
        broken = exact.outcome(Place(plugin=each), before[each], after[each])
        if broken:
            work.findings.append(broken)
        else:
            work.line(each, Answer.KEEP, "its contract holds; the suite measures nothing of it")
    notes.append(f"the suite measures nothing but the contract of {', '.join(others)}")


def _binaries(work: Work) -> None:
    """What Triton plugins compile to, at the sizes that are traced and, for identity, timed."""
    subjects: dict[binaries.Subject, bool] = {}
    for contest, problem in work.fit:
        sizes = sizes_name(problem.sizes)
        for plugin in problem.plugins:
            if contest.layers or work.touched.head.plugins[plugin].needs != ("triton",):
                continue
            if sizes in contest.modelled_sizes:
                subjects[binaries.Subject(plugin=plugin, op=problem.op, sizes=sizes)] = True
            if _identity_matters(work, plugin, problem):
                timed = binaries.Subject(
                    plugin=plugin, op=problem.op, sizes=sizes, dtype=problem.dtype
                )
                subjects.setdefault(timed, False)
    found = binaries.both([*subjects], work.base, work.head, work.tell) if subjects else {}
    for subject, shown in subjects.items():
        before, after = found[subject]
        place = Place(plugin=subject.plugin, sizes=subject.sizes, dtype=subject.dtype)
        if shown:
            work.findings += exact.binaries(place, before, after, work.told)
        touched = work.touched
        same = touched.changes(subject.plugin) and touched.same_host(subject.plugin)
        if same and binaries.identical(before, after):
            work.same.add((subject.plugin, subject.sizes, subject.dtype))
            work.findings.append(place.finding("time", Answer.KEEP, "unchanged: identical binary"))


def _identity_matters(work: Work, plugin: str, problem: Problem) -> bool:
    return (
        problem.device != "cpu"
        and "time" in problem.metrics
        and work.touched.changes(plugin)
        and work.touched.same_host(plugin)
    )


def _clock(work: Work, budget_s: float) -> None:
    """Times of what is ok on both sides and not unchanged, in turns with the rivals."""
    from .clocked import clocked

    contested = [*pairings(work)]
    if not contested:
        return
    work.findings += clocked(
        contested,
        work.base,
        work.head,
        device=work.device,
        budget_s=budget_s,
        settings=work.told,
        say=work.tell,
    )


def _clock_notes(device: str, *, clock: bool) -> Iterator[str]:
    if not clock:
        where = "there is no GPU here" if device == "cpu" else "--no-clock"
        yield f"no time was compared: {where}"


def _stack_notes(base: Commit, head: Commit) -> Iterator[str]:
    for file in STACK_FILES:
        if _text(base, file) != _text(head, file):
            yield f"{file} differs: both sides run on what is installed here"


def _text(at: Commit, file: str) -> str:
    try:
        return checkout.git("show", f"{at.hash}:{file}")
    except (OSError, subprocess.CalledProcessError):
        return ""
