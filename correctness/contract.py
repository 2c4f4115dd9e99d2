"""The contract: runs every promise on a plugin and says what became of each.

Outcomes are four and stay four. An excuse is strict: the check it names must fail somewhere, or the
excuse itself is wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import torch

from correctness.case import Case, dtype_name
from correctness.op import find
from correctness.promises import CHECKS, Check, NotRun, Unsupported
from impl.registry import Plugin, load


class Outcome(StrEnum):
    """What became of a check; never merged."""

    OK = "ok"
    WRONG = "wrong"
    UNSUPPORTED = "unsupported"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Result:
    """What became of one check on one problem."""

    name: str
    outcome: Outcome
    sizes: str = ""
    dtype: str = ""
    error: float | None = None
    """Relative error of the worst tensor."""
    bound: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """What became of a plugin: wrong when any check is, ok when some are and none is wrong."""

    id: str
    checks: tuple[Result, ...]

    @property
    def outcome(self) -> Outcome:
        """The worst that may be said of the plugin as a whole."""
        found = {result.outcome for result in self.checks}
        order = (Outcome.WRONG, Outcome.OK, Outcome.UNSUPPORTED, Outcome.NOT_RUN)
        return next((each for each in order if each in found), Outcome.NOT_RUN)


def check(
    plugin: Plugin | str,
    *,
    device: str = "cpu",
    until_wrong: bool = False,
    progress: Callable[[Result], None] | None = None,
) -> Report:
    """Run the whole contract; ``until_wrong`` stops at the first broken promise."""
    found: list[Result] = []
    for result in results(plugin, device=device):
        found.append(result)
        if progress:
            progress(result)
        if until_wrong and result.outcome is Outcome.WRONG:
            break
    name = plugin if isinstance(plugin, str) else plugin.id
    return Report(name, tuple(found))


def results(plugin: Plugin | str, *, device: str = "cpu") -> Iterator[Result]:
    """What becomes of every check, in the order of the contract."""
    plugin = load(plugin) if isinstance(plugin, str) else plugin
    excused = {name.partition("@")[0] for name in plugin.excuses}
    for name in sorted(excused - {each.name for each in CHECKS}):
        yield Result(name, Outcome.WRONG, reason="an excuse for a check that does not exist")
    for each in CHECKS:
        yield from results_of(each, plugin, device)


def results_of(each: Check, plugin: Plugin, device: str) -> Iterator[Result]:
    """One result a problem of the check; when its excuse was not needed, one more that says so."""
    if reason := plugin.missing():
        yield Result(each.name, Outcome.NOT_RUN, reason=reason)
        return
    excuse = plugin.excuse(each.name, device)
    tried = [attempt(each, case) for case in cases(each, plugin, device)]
    failed = [result.outcome is Outcome.WRONG for result in tried]
    if excuse is None:
        yield from tried
        return
    if not any(failed):
        yield Result(each.name, Outcome.WRONG, reason=f"the excuse is not needed: {excuse}")
    for result, wrong in zip(tried, failed, strict=True):
        yield replace(result, outcome=Outcome.UNSUPPORTED, reason=excuse) if wrong else result


def cases(each: Check, plugin: Plugin, device: str) -> Iterator[Case]:
    """The problems on which a plugin is held to a promise."""
    op = find(plugin.op or "")
    for dtype, problems in each.problems.items():
        for problem in problems:
            yield Case(plugin, op, op.sizes[problem], dtype, device)


def attempt(each: Check, case: Case) -> Result:
    """Try one promise on one problem."""
    where = (case.sizes, dtype_name(case.dtype))
    if refusal := case.refusal():
        return Result(each.name, Outcome.UNSUPPORTED, *where, reason=refusal)
    try:
        found = each.promise(case)
    except Unsupported as reason:
        return Result(each.name, Outcome.UNSUPPORTED, *where, reason=str(reason))
    except (NotRun, torch.OutOfMemoryError) as reason:
        return Result(each.name, Outcome.NOT_RUN, *where, reason=str(reason))
    except Exception as error:  # whatever a plugin raises is an answer about the plugin
        reason = (
            str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        )
        return Result(each.name, Outcome.WRONG, *where, reason=reason)
    worst = max(found, key=lambda one: one.excess, default=None)
    if worst is None:
        return Result(each.name, Outcome.OK, *where)
    outcome = Outcome.OK if worst.excess <= 1 else Outcome.WRONG
    return Result(each.name, outcome, *where, worst.error, worst.bound, reason=worst.what)
