"""The second road: ``pytest bench/`` times every implementation of an op side by side.

One group an op, sizes and dtype, in pytest-benchmark's own table; ``--benchmark-autosave`` and
``--benchmark-compare`` work. It has none of the runner's care (no interleaving, no dropped rounds),
so it is for looking, never for a verdict. ``-k linear_recurrence`` picks an op.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .engine import figures, runner, suite
from .engine.admission import admission
from .engine.contest import Problem

if TYPE_CHECKING:
    from correctness.case import Case


def _cases() -> Iterator[Any]:
    for contest in (each for name in suite.chosen() for each in suite.load(name).contests):
        for problem in runner.problems(contest, runner.default_device()):
            sizes = "-".join(f"{axis}{size}" for axis, size in problem.sizes.items())
            for plugin in problem.plugins if "time" in problem.metrics else ():
                yield pytest.param(
                    problem, plugin, id=f"{problem.op}-{sizes}-{problem.dtype}-{plugin}"
                )


@pytest.mark.parametrize(("problem", "plugin"), list(_cases()))
def test_side_by_side(benchmark: Any, problem: Problem, plugin: str) -> None:
    case = _case(problem, plugin)
    benchmark.group = f"{problem.op} {case.sizes} {problem.dtype} {problem.device}"
    benchmark.name = plugin
    benchmark(_finished(figures.bare(case), problem.device))


def _finished(call: Callable[[], object], device: str) -> Callable[[], object]:
    """The call and the wait for its end, which on a GPU is not its return."""
    if device == "cpu":
        return call
    import torch

    def wait() -> None:
        call()
        torch.cuda.synchronize()

    return wait


def _case(problem: Problem, plugin_id: str) -> "Case":
    """The case, or a skip with the reason why it may not be timed."""
    import torch

    from correctness.case import Case
    from correctness.op import find
    from impl.registry import load, lookup

    plugin = lookup(plugin_id)
    if reason := plugin.missing():
        pytest.skip(reason)
    if plugin.backend == "triton" and problem.device == "cpu":
        pytest.skip("a Triton kernel has no time without a GPU")
    found = admission(plugin_id, problem.device)
    if not found.admitted:
        pytest.skip(f"contract {found.outcome}: {found.reason}")
    dtype = getattr(torch, problem.dtype)
    case = Case(load(plugin_id), find(problem.op), problem.sizes, dtype, problem.device)
    if reason := case.refusal():
        pytest.skip(reason)
    return case
