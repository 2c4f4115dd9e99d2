"""What is measured on both sides of a change, each in processes that import that side's plugins.

Figures that need no clock: whether the contract holds, the error against float64, what a trace
counts, what a task's seeds score. The processes compute with one thread, so that sums are added in
the same order every time.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..engine import admission
from ..engine.checkout import Commit
from ..engine.contest import Problem, Results
from ..engine.isolation import hold_apart
from ..engine.metrics import METRICS
from ..lab import tryout
from ..lab.agenda import Tryout
from ..lab.workers import each_apart

if TYPE_CHECKING:
    from ..lab.training.run import Run

Tell = Callable[[str], None]
UNMEASURED = "not measured"
"""The outcome of a side on which this ruler fails: nothing follows about the plugin."""


@dataclass(frozen=True, kw_only=True)
class Contested:
    """One problem to be timed on both sides, and the rivals at its sizes."""

    problem: Problem
    """Its plugins are those that the change reaches, admitted on both sides and not unchanged."""
    baselines: tuple[tuple[str, Problem], ...]
    """Plugin of a rival, admitted on both sides and not reached, and the problem it computes."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One plugin on one problem, as one side has it."""

    outcome: str = "ok"
    reason: str = ""
    failing: int = 0
    """Checks of the contract that fail."""
    figures: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Metric to one figure, or to one a seed."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Metric, or way to take several, to the reason why it has no figure."""

    @property
    def ok(self) -> bool:
        """Whether figures of it may be compared."""
        return self.outcome == "ok"


Sights = Mapping[str, Sight]
"""Plugin, with the knobs of a mixer, to what became of it."""


class OneThread(Commit):
    """A commit whose processes compute with one thread."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of a process that is to import the plugins of this commit."""
        return {**super().environment, "OMP_NUM_THREADS": "1"}


def one_thread(at: Commit) -> OneThread:
    """The same commit, computed with one thread."""
    return OneThread(at.hash, at.date, clean=at.clean, tree=at.tree)


def exact(problem: Problem, at: Commit, tell: Tell) -> Sights:
    """Everything of a problem that repeats exactly, on the side ``at``."""
    metrics = tuple(name for name in problem.metrics if METRICS[name].exact)
    try:
        held = hold_apart(
            replace(problem, metrics=metrics),
            lambda plugin, stage: tell(f"{plugin} {stage}"),
            at=one_thread(at),
        )
    except (
        Exception
    ) as error:  # what a contest raises is about the problem: this side has none such
        return _none(problem.plugins, error)
    return sights(held, problem.plugins)


def trained(held: Tryout, at: Commit, device: str, tell: Tell) -> Sights:
    """The scores of a task's mixers, one a seed, on the side ``at``."""

    def told(done: int, total: int, run: "Run") -> None:
        tell(f"{run.mixer} seed {run.seed}, {done} of {total}")

    workers = min(2, os.cpu_count() or 1)
    try:
        results, _ = tryout.hold(
            held, device=device, workers=workers, progress=told, at=one_thread(at)
        )
    except Exception as error:  # a run that fails is an answer: this is about the task on this side
        return _none(held.mixers, error)
    return sights(results, held.mixers)


def admitted(plugins: Sequence[tuple[str, str]], at: Commit, tell: Tell) -> Sights:
    """The contract alone, or the laws of a mixer, of each (plugin, device)."""
    found = {}
    for number, answer in each_apart(_admission, plugins, at=one_thread(at)):
        plugin, _ = plugins[number]
        tell(f"{plugin} contract")
        found[plugin] = (
            Sight(outcome="not run", reason=str(answer))
            if isinstance(answer, Exception)
            else Sight(outcome=answer.outcome, reason=answer.reason, failing=answer.failing)
        )
    return found


def _admission(plugin: tuple[str, str]) -> admission.Admission:
    from impl.registry import lookup

    plugin_id, device = plugin
    if lookup(plugin_id).kind == "mixer":
        return admission.laws(plugin_id)
    return admission.admission(plugin_id, device)


def _none(plugins: Sequence[str], error: Exception) -> Sights:
    sight = Sight(outcome=UNMEASURED, reason=f"{type(error).__name__}: {error}")
    return dict.fromkeys(plugins, sight)


def sights(results: Results, plugins: Sequence[str]) -> Sights:
    """What a contest left, plugin by plugin."""
    return {plugin: _sight(results, plugin) for plugin in plugins}


def _sight(results: Results, plugin: str) -> Sight:
    figures = {each.metric: each.samples for each in results.figures if each.plugin == plugin}
    mine = [each for each in results.outcomes if each.plugin == plugin]
    whole = [each for each in mine if not each.metric]
    failing = int(figures.pop("contract", (0.0,))[0])
    return Sight(
        outcome=whole[0].outcome if whole else "ok",
        reason="; ".join(each.reason for each in whole),
        failing=failing or sum(each.outcome == "wrong" for each in whole[:1]),
        figures=figures,
        missing={each.metric: each.reason for each in mine if each.metric},
    )
