# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportOptionalCall=false
"""A forward and backward pass is the same in every order in which a GPU may run its programs.

On a CPU two runs agree in any case: the interpreter takes one program after another. So what could
make them differ is looked for instead: bytes that two programs of a launch share, sums by atomics, and
ops of torch that add in any order on a GPU.
"""

import inspect
from collections.abc import Callable

import pytest
import torch
import triton
import triton.language as tl

from bench.trace.traffic import Trace, trace
from correctness.case import Case, gradients
from correctness.interpreter import Observer, interpret
from correctness.op import find, outputs
from correctness.promises import PRIME, UNEVEN
from impl.registry import Plugin, index, load

PLUGINS = [
    plugin.id
    for plugin in index().values()
    if plugin.kind == "impl"
    and plugin.needs == ("triton",)
    and plugin.excuse("backward", "cuda") is None
]
UNORDERED = {"index_add", "index_put", "index_copy", "put", "scatter", "scatter_add"}
UNORDERED |= {"scatter_reduce", "cumsum", "histc", "bincount"}
"""Ops of torch that ``use_deterministic_algorithms`` names, on CUDA tensors of floats."""


class Atomics(Observer):
    """Whether any program used one."""

    seen = False

    def access(self, kind: str, addresses, itemsize: int, program: tuple) -> None:
        self.seen |= kind == "atomic"


def doubts(call: Callable[[], object]) -> set[str]:
    """Why two runs of ``call`` on a GPU could differ: ``races``, ``atomics``, names of ops."""
    atomics = Atomics()
    with interpret(atomics):
        traced = trace(call, races=True)
    found = {name for name in ("races",) if traced.races}
    return found | {name for name in ("atomics",) if atomics.seen} | ops(traced) & UNORDERED


def ops(traced: Trace) -> set[str]:
    """Names of the ops of torch that were launched, in place or not."""
    names = (step.name for step in traced.steps if step.name.startswith("aten::"))
    return {name.removeprefix("aten::").rstrip("_") for name in names}


def training(plugin: Plugin, problem: int, *, packed: bool) -> Callable[[], object]:
    """A forward and backward pass on a problem of the op, in chunks as short as may be."""
    op = find(plugin.op or "")
    case = Case(plugin, op, op.sizes[problem], torch.float32)
    inputs, state = case.inputs(), op.state
    more = {name: min(values) for name, values in plugin.knobs.items()}
    if packed:
        ends = [0, 1, case.dims["T"] - 7, case.dims["T"]]
        assert state and case.dims["B"] == 1
        inputs[state] = Case(plugin, op, {**case.dims, "B": 3}, torch.float32).inputs()[state]
        more["cu_seqlens"] = torch.tensor(ends)
    return lambda: gradients(lambda **given: outputs(plugin.run(**given, **more)), inputs)


@pytest.mark.parametrize("plugin_id", PLUGINS)
def test_programs_of_a_training_step_may_run_in_any_order(plugin_id: str) -> None:
    plugin = load(plugin_id)
    assert doubts(training(plugin, PRIME, packed=False)) == set()
    packs = "cu_seqlens" in inspect.signature(plugin.run).parameters
    assert doubts(training(plugin, UNEVEN, packed=packs)) == set()


@triton.jit
def _column_sums_kernel(x_ptr, o_ptr, ROWS: tl.constexpr, BLOCK: tl.constexpr, HOW: tl.constexpr):
    row, columns = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * BLOCK + columns)
    if HOW == "atomics":
        tl.atomic_add(o_ptr + columns, x)
    elif HOW == "races":
        tl.store(o_ptr + columns, tl.load(o_ptr + columns) + x)
    elif row == 0:
        total = tl.zeros((BLOCK,), tl.float32)
        for i in range(ROWS):
            total += tl.load(x_ptr + i * BLOCK + columns)
        tl.store(o_ptr + columns, total)


def column_sums(x: torch.Tensor, how: str) -> torch.Tensor:
    """Sums over rows, in a way that is ordered or not."""
    o = torch.zeros(x.shape[1])
    if how == "index_add":
        return o.expand(1, -1).clone().index_add_(0, torch.zeros(len(x), dtype=torch.long), x)[0]
    _column_sums_kernel[(len(x),)](x, o, *x.shape, how)
    return o


@pytest.mark.parametrize("how", ["races", "atomics", "index_add", "in order"])
def test_each_way_to_depend_on_the_order_is_noticed_and_two_runs_do_not_show_it(how: str) -> None:
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    assert doubts(lambda: column_sums(x, how)) == {how} - {"in order"}
    with interpret():
        assert torch.equal(column_sums(x, how), column_sums(x, how))
