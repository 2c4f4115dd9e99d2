"""Pairings for the clock: what was ok on both sides, each with the rivals that are timed beside it."""

from collections.abc import Iterator
from dataclasses import replace

from ..engine import suite
from ..engine.contest import Problem
from ..engine.store import sizes_name
from . import sides
from .allowance import Settings
from .exact import Place
from .finding import Answer
from .sides import Contested
from .work import Work


def pairings(work: Work) -> Iterator[Contested]:
    """The problems to be timed, each with the plugins that have a time here and its rivals."""
    known: dict[tuple[str, str, str], str] = {}
    for contest, problem in work.fit:
        if "time" not in problem.metrics:
            continue
        plugins = tuple(each for each in problem.plugins if _has_time(work, each, problem))
        if plugins:
            timed = replace(problem, plugins=plugins)
            baselines = tuple(_baselines(work, contest, timed, known))
            yield Contested(problem=timed, baselines=baselines)


def _has_time(work: Work, plugin: str, problem: Problem) -> bool:
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
    work: Work,
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


def _unfit_rival(work: Work, plugin: str, rival: Problem) -> str:
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
