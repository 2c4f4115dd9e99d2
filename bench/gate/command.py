"""``madbench gate``: what a change does to every figure that it can touch, and the answer.

    reach -> contract, error and trace of both sides -> scores -> binaries -> clock

The base's plugins are measured in processes that import the base, the head's in processes that
import the head; the ruler and the suite are those of this checkout for both. Nothing is stored.
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..engine import checkout, runner, suite
from ..engine.checkout import Commit
from ..engine.contest import Problem
from ..engine.store import sizes_name
from ..hardware import machine
from ..lab import tryout
from . import binaries, exact, sides
from .allowance import Settings, settings
from .exact import Place, Score
from .finding import Answer, Finding
from .reach import Reach, reach
from .report import Report
from .sides import Contested, Sights

Tell = Callable[[str], None]
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
    work = _Work(base=base, head=head, touched=touched, device=device, told=told, tell=tell)
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


@dataclass(kw_only=True)
class _Work:
    """What is known so far."""

    base: Commit
    head: Commit
    touched: Reach
    device: str
    told: Settings
    tell: Tell
    findings: list[Finding] = field(default_factory=list)
    fit: list[tuple[suite.Contest, Problem]] = field(default_factory=list)
    """Problems whose plugins are ok on both sides."""
    measured: set[str] = field(default_factory=set)
    """Ids that took part in something."""
    same: set[tuple[str, str, str]] = field(default_factory=set)
    """Plugin, sizes and dtype of binaries that are identical."""

    @property
    def here(self) -> Sequence[str]:
        """Plugins that the change reaches and both sides can run here."""
        return [
            each
            for each in self.touched.plugins
            if not any(
                side.plugins[each].missing() for side in (self.touched.base, self.touched.head)
            )
        ]

    def on_both(self, measure: Callable[[Commit, Tell], Sights]) -> tuple[Sights, Sights]:
        """The base's, then the head's."""
        found = [
            measure(at, lambda line, side=side: self.tell(f"{side}: {line}"))
            for side, at in (("base", self.base), ("head", self.head))
        ]
        return found[0], found[1]

    def line(self, plugin: str, answer: Answer, why: str) -> None:
        """A finding that is about a plugin as a whole."""
        self.findings.append(Place(plugin=plugin).finding("contract", answer, why))


def _unreadable(work: _Work) -> bool:
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


def _lines(work: _Work) -> None:
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


def _contests(work: _Work, contests: Sequence[suite.Contest]) -> None:
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


def _with_every_mixer(contests: Sequence[suite.Contest], work: _Work) -> Iterator[suite.Contest]:
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


def _members(contest: suite.Contest, work: _Work) -> tuple[str, ...]:
    """Contestants that are measured: plugins of the op, or mixers with their knobs."""
    if contest.layers:
        return tuple(each for each in contest.plugins if each.partition("(")[0] in work.here)
    plugins = work.touched.head.plugins
    return tuple(
        each
        for each in work.here
        if plugins[each].kind == "impl" and plugins[each].op == contest.op
    )


def _compared(work: _Work, problem: Problem, before: Sights, after: Sights) -> list[str]:
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


def _tasks(work: _Work, name: str) -> None:
    """Scores of the mixers that the change reaches, on the suite's tasks."""
    found: list[Score] = []
    for each in tryout.tryouts(name):
        mixers = tuple(mixer for mixer in each.mixers if mixer.partition("(")[0] in work.here)
        if mixers:
            found += _scored(work, replace(each, mixers=mixers))
    work.findings += exact.seeds(found, work.told)


def _scored(work: _Work, held: tryout.Tryout) -> Iterator[Score]:
    """The scores on one task; what is not ok on both sides is a finding at once."""
    task = held.task.name
    work.tell(f"{task}: {', '.join(held.mixers)} on both sides, {len(held.seeds)} seeds")
    before, after = work.on_both(lambda at, tell: sides.trained(held, at, work.device, tell))
    for mixer in held.mixers:
        work.measured.add(mixer.partition("(")[0])
        place = Place(plugin=mixer, sizes=task, dtype=tryout.DTYPE)
        if broken := exact.outcome(place, before[mixer], after[mixer]):
            work.findings.append(broken)
            continue
        for each in exact.scores(place, before[mixer], after[mixer]):
            if isinstance(each, Score):
                yield each
            else:
                work.findings.append(each)


def _others(work: _Work, notes: list[str]) -> None:
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


def _binaries(work: _Work) -> None:
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


def _identity_matters(work: _Work, plugin: str, problem: Problem) -> bool:
    return (
        problem.device != "cpu"
        and "time" in problem.metrics
        and work.touched.changes(plugin)
        and work.touched.same_host(plugin)
    )


def _clock(work: _Work, budget_s: float) -> None:
    """Times of what is ok on both sides and not unchanged, in turns with the rivals."""
    from .clocked import clocked

    contested = [*_contested(work)]
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


def _contested(work: _Work) -> Iterator[Contested]:
    known: dict[tuple[str, str, str], str] = {}
    for contest, problem in work.fit:
        if "time" not in problem.metrics:
            continue
        plugins = tuple(each for each in problem.plugins if _has_time(work, each, problem))
        if plugins:
            timed = replace(problem, plugins=plugins)
            baselines = tuple(_baselines(work, contest, timed, known))
            yield Contested(problem=timed, baselines=baselines)


def _has_time(work: _Work, plugin: str, problem: Problem) -> bool:
    """Whether a plugin is timed here; a line says why it is not."""
    sizes = sizes_name(problem.sizes)
    if (plugin, sizes, problem.dtype) in work.same:
        return False
    needs = work.touched.head.plugins[plugin.partition("(")[0]].needs
    if "triton" in needs and work.device == "cpu":
        place = Place(plugin=plugin, sizes=sizes, dtype=problem.dtype, target=work.device)
        why = "not timed: a Triton kernel has no time without a GPU"
        work.findings.append(place.finding("time", Answer.KEEP, why))
        return False
    return True


def _baselines(
    work: _Work,
    contest: suite.Contest,
    problem: Problem,
    known: dict[tuple[str, str, str], str],
) -> Iterator[tuple[str, Problem]]:
    """The rivals that can be timed beside ``problem``; a line for each that cannot."""
    rivals = [*_rivals(work.told, contest, problem)]
    for name, rival in rivals:
        (plugin,) = rival.plugins
        key = (plugin, sizes_name(rival.sizes), rival.dtype)
        if key not in known:
            known[key] = _unfit_rival(work, plugin, rival)
            if known[key]:
                place = Place(plugin=plugin, sizes=key[1], dtype=key[2], target=work.device)
                why = f"{name} is no baseline here: {known[key]}"
                work.findings.append(place.finding("time", Answer.KEEP, why, against=name))
        if not known[key]:
            yield plugin, rival


def _rivals(
    told: Settings, contest: suite.Contest, problem: Problem
) -> Iterator[tuple[str, Problem]]:
    """FlashAttention-2 and Mamba-2 at these sizes; where they have none, the suite's baseline."""
    found = 0
    for each in told.baselines:
        sizes = each.sizes(problem.sizes)
        if sizes is None or contest.layers:
            continue
        found += 1
        if each.plugin not in problem.plugins:
            yield each.name, replace(problem, op=each.op, plugins=(each.plugin,), sizes=sizes)
    if not found and contest.baseline not in problem.plugins:
        yield "the suite's baseline", replace(problem, plugins=(contest.baseline,))


def _unfit_rival(work: _Work, plugin: str, rival: Problem) -> str:
    """Why a rival cannot be timed on both sides, or nothing."""
    plugin_id = plugin.partition("(")[0]
    for name, side in (("base", work.touched.base), ("head", work.touched.head)):
        if plugin_id not in side.plugins:
            return f"the {name} has no such plugin"
        if reason := side.plugins[plugin_id].missing():
            return reason
    if work.touched.changes(plugin_id):
        return "the change reaches it"
    if "triton" in work.touched.head.plugins[plugin_id].needs and work.device == "cpu":
        return "a Triton kernel has no time without a GPU"
    alone = replace(rival, metrics=())
    for name, sights in zip(
        ("base", "head"), work.on_both(lambda at, tell: sides.exact(alone, at, tell)), strict=True
    ):
        if not sights[plugin].ok:
            return f"{sights[plugin].outcome} at the {name}: {sights[plugin].reason}"
    return ""


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
