"""One contest, held in this process: admit the contestants, count, compare, then time in rounds.

Every contestant that may not or cannot be measured leaves an outcome with its reason instead of a
figure. What is deterministic is taken first and alone; the clock runs last, over all that are left,
interleaved.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..lab.contestant import contestant, turned
from ..record import setting
from . import clock, figures
from .admission import admission, laws
from .layer import Layer
from .metrics import METRICS, RIVALS, SETTING

if TYPE_CHECKING:
    from torch import Tensor

    from correctness.case import Case

Say = Callable[[str, str], None]
"""Told the contestant and the stage before each stage, so that a hang has a name."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a contest is about; plain values, so that it can be sent to another process."""

    op: str
    plugins: tuple[str, ...]
    """Ids; one that carries knobs, ``chunkwise.gla(chunk=64)``, is a contestant of its own."""
    sizes: Mapping[str, int]
    dtype: str
    device: str
    metrics: tuple[str, ...]
    rounds: int = 15
    seconds: float | None = None
    layers: bool = False
    """Whether the contestants are mixers, with their knobs."""
    rivals: Mapping[str, tuple[str, Mapping[str, int]]] = field(default_factory=dict)
    """Plugins of other ops that are timed in the same rounds, to their op and its sizes."""
    knobs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Plugins to the knobs that are stored for them; one that offers no such value runs as it stands."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Samples of one metric of one contestant."""

    plugin: str
    metric: str
    samples: tuple[float, ...]
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Why a figure is missing: wrong, unsupported or not run, and the reason."""

    plugin: str
    outcome: str
    reason: str
    metric: str = ""
    """Empty when nothing at all was measured of the contestant."""
    again: bool = False
    """Whether another try may fare better: the machine was busy, nothing is wrong with the code."""


@dataclass
class Results:
    """What a contest leaves; ``began`` (seconds since 1970) names the rounds taken together."""

    began: float = field(default_factory=time.time)
    figures: list[Figure] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def exact(self, plugin: str, metric: str, value: float) -> None:
        """Add a figure whose repetition would be the same."""
        self.figures.append(
            Figure(plugin=plugin, metric=metric, samples=(value,), low=value, high=value)
        )

    def fail(self, plugin: str, reason: str) -> None:
        """A wrong answer at the sizes to be measured is one more check of the contract that fails."""
        self.figures = [
            each for each in self.figures if (each.plugin, each.metric) != (plugin, "contract")
        ]
        self.exact(plugin, "contract", 1)
        self.missing(plugin, "wrong", reason)

    def missing(
        self, plugin: str, outcome: str, reason: str, metric: str = "", *, again: bool = False
    ) -> None:
        """Add the reason why a figure is not there."""
        self.outcomes.append(
            Outcome(plugin=plugin, outcome=outcome, reason=reason, metric=metric, again=again)
        )


def hold(problem: Problem, say: Say) -> Results:
    """Measure every contestant of the problem. Raises only what is wrong with the problem itself."""
    results = Results()
    contestants: dict[str, Case | Layer] = {}
    truth = Truth()
    for plugin in problem.plugins:
        case = _admit(problem, plugin, results, say)
        if case is not None and _answers(case, problem, truth, results, say):
            contestants[plugin] = case
    for case in contestants.values():
        _take(case, problem, results, say)
    if contestants:
        contestants |= _rivals(problem, results, say)
    _time(contestants, problem, results, say)
    return results


def _rivals(problem: Problem, results: Results, say: Say) -> "dict[str, Case | Layer]":
    """The rivals that may be timed; of the others, why not."""
    found: dict[str, Case | Layer] = {}
    for plugin, (op, sizes) in problem.rivals.items():
        theirs, own = Results(), replace(problem, op=op, sizes=sizes, metrics=())
        case = _admit(own, plugin, theirs, say)
        if case is not None and _answers(case, own, Truth(), theirs, say):
            found[plugin] = case
        for each in theirs.outcomes:
            results.missing(plugin, each.outcome, each.reason, RIVALS[0], again=each.again)
    return found


def _admit(problem: Problem, plugin_id: str, results: Results, say: Say) -> "Case | Layer | None":
    absent = _absent(plugin_id, problem)
    if absent:
        results.missing(plugin_id, "not run", absent)
        return None
    say(plugin_id, "contract")
    bare = plugin_id.partition("(")[0]
    found = laws(plugin_id) if problem.layers else admission(bare, problem.device)
    if found.outcome in ("ok", "wrong"):
        results.exact(plugin_id, "contract", found.failing)
    if not found.admitted:
        results.missing(plugin_id, found.outcome, found.reason)
        return None
    case = case_of(problem, plugin_id)
    if reason := case.refusal():
        results.missing(plugin_id, "unsupported", reason)
        return None
    _tell_setting(problem, case, results)
    return case


def _tell_setting(problem: Problem, case: "Case | Layer", results: Results) -> None:
    """Say which stored setting the contestant runs with, or that its code offers no such value."""
    stored = problem.knobs.get(case.plugin.id)
    if not stored:
        return
    if case.knobs:
        results.exact(case.plugin.id, SETTING, setting.code(case.knobs))
    else:
        reason = f"the stored {setting.words(stored)} is not offered here: run as it stands"
        results.missing(case.plugin.id, "not run", reason, SETTING)


def case_of(problem: Problem, plugin_id: str) -> "Case | Layer":
    """A contestant on the problem, imported but not admitted."""
    import torch

    from correctness.case import Case
    from correctness.op import find
    from impl.registry import load

    dtype = getattr(torch, problem.dtype)
    if problem.layers:
        mixer, knobs = contestant(plugin_id)
        plugin = replace(load(mixer), id=plugin_id)
        return Layer(plugin, problem.sizes, dtype, problem.device, knobs)
    plugin = replace(load(plugin_id.partition("(")[0]), id=plugin_id)
    knobs = turned(plugin_id, plugin) or problem.knobs.get(plugin_id, {})
    offered = all(value in plugin.knobs.get(name, ()) for name, value in knobs.items())
    used = knobs if offered else {}
    return Case(plugin, find(problem.op), problem.sizes, dtype, problem.device, used)


def _absent(plugin_id: str, problem: Problem) -> str | None:
    from impl.registry import lookup

    if problem.layers:
        return None  # the laws say so
    try:
        plugin = lookup(plugin_id.partition("(")[0]) if ".py:" not in plugin_id else None
    except ValueError:
        return "not part of this commit"
    if plugin is None:
        return None
    if plugin.op != problem.op:
        return f"computes {plugin.op}, not {problem.op}"
    return plugin.missing()


def _answers(
    case: "Case | Layer", problem: Problem, truth: "Truth", results: Results, say: Say
) -> bool:
    """Run once, at the sizes to be measured, and hold the answer against float64."""
    import torch

    plugin = case.plugin.id
    say(plugin, "answer")
    try:
        error, wrong = truth.compare(case)
    except torch.OutOfMemoryError as error:
        results.missing(plugin, "not run", f"out of GPU bytes: {error}")
        return False
    except (ValueError, NotImplementedError) as error:
        results.missing(plugin, "unsupported", str(error))
        return False
    except Exception as error:  # whatever a plugin raises is an answer about the plugin
        results.fail(plugin, f"{type(error).__name__}: {error}")
        return False
    if wrong:
        results.fail(plugin, f"at these sizes: {wrong}")
        return False
    if "error" in problem.metrics:
        results.exact(plugin, "error", error)
    return True


class Truth:
    """The reference's answers in float64 and in the dtype; those of an op are worked out once."""

    def __init__(self) -> None:
        self._answers: tuple[Mapping[int, Tensor], ...] = ()

    def compare(self, case: "Case | Layer") -> tuple[float, str]:
        """Relative root mean square error of the worst output, and what breaks the bound, if any."""
        from correctness.case import compare_all, rms

        inputs = case.inputs()
        got = dict(enumerate(case.run(inputs)))
        true, plain = self._of(case, inputs)
        compared = compare_all("output ", got, true, plain, case.dtype, case.own_errors())
        broken = [each for each in compared if not each.excess <= 1]
        errors = [rms(mine.double() - true[i]) / (rms(true[i]) or 1.0) for i, mine in got.items()]
        reasons = [f"{each.what} errs {each.error:.3g}, bound {each.bound:.3g}" for each in broken]
        return max(errors), "; ".join(reasons)

    def _of(
        self, case: "Case | Layer", inputs: "Mapping[str, Tensor]"
    ) -> "tuple[Mapping[int, Tensor], ...]":
        import torch

        from correctness.case import to

        if isinstance(case, Layer):  # its weights, and so its answers, are its own
            answers = (case.stepped(inputs, dtype) for dtype in (torch.float64, case.dtype))
            return tuple(dict(enumerate(each)) for each in answers)
        if not self._answers:
            answers = case.op(**to(inputs, torch.float64)), case.op(**inputs)
            self._answers = tuple(dict(enumerate(each)) for each in answers)
        return self._answers


def _take(case: "Case | Layer", problem: Problem, results: Results, say: Say) -> None:
    """Every figure that needs no clock; a failure costs that figure only."""
    ways = {METRICS[name].way for name in problem.metrics}
    for way, source in figures.SOURCES.items():
        if way not in ways:
            continue
        say(case.plugin.id, source.__name__)
        try:
            found = source(case, [name for name in problem.metrics if METRICS[name].way is way])
        except Exception as error:  # one figure less is no reason to lose the others
            reason = f"{type(error).__name__}: {error}"
            results.missing(case.plugin.id, "not run", reason, str(way))
            continue
        for metric, value in found.items():
            if isinstance(value, str):
                results.missing(case.plugin.id, "not run", value, metric)
            else:
                results.exact(case.plugin.id, metric, value)


def _time(
    contestants: "Mapping[str, Case | Layer]", problem: Problem, results: Results, say: Say
) -> None:
    """Forward passes against forward passes, then training steps against training steps."""
    for call, metrics in figures.CLOCKED.items():
        wanted = [name for name in metrics if name in problem.metrics]
        calls: dict[str, Callable[[], object]] = {}
        told = {plugin: _told(plugin, wanted, problem) for plugin in contestants}
        for plugin, case in contestants.items():
            if not told[plugin]:
                continue
            made = _made(call, case)
            if isinstance(made, str):
                results.missing(plugin, "not run", made, told[plugin][0])
            else:
                calls[plugin] = made
        if calls:
            say("", call.__name__)
            _clock(calls, told, problem, results)


def _made(
    call: "Callable[[Case | Layer], Callable[[], object] | str]", case: "Case | Layer"
) -> Callable[[], object] | str:
    """What the clock will call, once tried, or why there is none to time."""
    try:
        made = call(case)
        if not isinstance(made, str):
            made()
    except Exception as error:  # a gradient may want more bytes than there are
        return f"{type(error).__name__}: {error}"
    return made


def _told(plugin: str, wanted: Sequence[str], problem: Problem) -> Sequence[str]:
    """The metrics that the time of a call becomes: a rival's is no figure of this op."""
    if plugin not in problem.rivals:
        return wanted
    return RIVALS if "time" in wanted else ()


def _clock(
    calls: Mapping[str, Callable[[], object]],
    told: Mapping[str, Sequence[str]],
    problem: Problem,
    results: Results,
) -> None:
    timings = clock.rounds(
        calls, device=problem.device, rounds=problem.rounds, seconds=problem.seconds
    )
    tokens = problem.sizes["B"] * problem.sizes["T"]
    for plugin, timing in timings.items():
        if not timing.samples:
            # a round counts when nobody was disturbed in it
            reason = (
                "the machine was busy in every round: "
                f"{timing.dropped} samples dropped (watched: {timing.watch})"
            )
            results.missing(plugin, "not run", reason, told[plugin][0], again=True)
            continue
        for metric in told[plugin]:
            results.figures.append(_timed(plugin, metric, timing, tokens))


def _timed(plugin: str, metric: str, timing: clock.Timing, tokens: int) -> Figure:
    """Seconds of a call turned into the metric; a rate swaps the ends of the interval."""
    change = {
        "time": lambda s: s * 1e6,
        "rival_time": lambda s: s * 1e6,
        "train_time": lambda s: s * 1e6,
        "us_per_token": lambda s: s * 1e6 / tokens,
        "tokens_per_s": lambda s: tokens / s if s else float("inf"),
    }[metric]
    low, high = sorted((change(timing.low), change(timing.high)))
    samples = tuple(change(sample) for sample in timing.samples)
    return Figure(plugin=plugin, metric=metric, samples=samples, low=low, high=high)
