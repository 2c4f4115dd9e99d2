"""Every chunked kernel takes keys and values that are wide, uneven and no power of two.

The contract's heads are at most 40 wide, so that it takes seconds. Here every kernel runs once at K=200,
V=136, or next to the limit it declares; the id of a test names the sizes, and so what a kernel takes.
"""

import math

import pytest
import torch

from correctness.case import Case
from correctness.interpreter import interpret
from correctness.op import find
from impl.registry import Plugin, index, load

KERNELS = [
    plugin.id
    for plugin in index().values()
    if plugin.kind == "impl"
    and plugin.needs == ("triton",)
    and "at_most" in plugin.accepts.get("K", plugin.accepts.get("N", {}))
]
SMALL = {"B": 1, "T": 17, "H": 1, "G": 1, "R": 2}


def sizes(plugin: Plugin) -> dict[str, int]:
    """Wide and uneven: K and N 200, V and P 136, or the limit and 24 below the limit."""
    op, limit = find(plugin.op or ""), {}
    for axis in op.axes():
        limit[axis] = plugin.accepts.get(axis, {}).get("at_most", math.inf)
    wide = {"K": 200, "N": 200} | {axis: min(136, limit.get(axis, 0) - 24) for axis in "VP"}
    return {axis: int(min(limit[axis], {**SMALL, **wide}[axis])) for axis in op.axes()}


def told(plugin: Plugin) -> str:
    """``chunkwise.gla_fused-K128-V104``."""
    wide = "-".join(f"{axis}{size}" for axis, size in sizes(plugin).items() if axis in "KNVP")
    return f"{plugin.id}-{wide}"


@pytest.mark.parametrize("plugin_id", KERNELS, ids=[told(index()[each]) for each in KERNELS])
def test_wide_and_uneven_heads_hold_the_bound(plugin_id: str) -> None:
    plugin = load(plugin_id)
    case = Case(plugin, find(plugin.op or ""), sizes(plugin), torch.float32)
    assert case.refusal() is None
    inputs = case.inputs()
    found = case.compare(case.run(inputs), inputs)
    if plugin.excuse("backward", case.device) is None:
        found += case.compare_gradients(case.gradients(inputs), inputs)
    assert not [each for each in found if not each.excess <= 1]


def test_the_narrowest_limit_of_a_kernel_is_half_of_the_widest_head_asked_for() -> None:
    limits = [
        wish["at_most"]
        for each in KERNELS
        for axis, wish in index()[each].accepts.items()
        if axis in "KNVP"
    ]
    assert min(limits) >= 128


@pytest.mark.parametrize(
    "plugin_id", ["delta.chunkwise", "delta.gated_chunkwise", "delta.ssd_block_fused"]
)
def test_wide_heads_share_keys(plugin_id: str) -> None:
    op = find(index()[plugin_id].op or "")
    dims = {"B": 1, "T": 33, "H": 4, "K": 140, "V": 16}
    given = {name: x.float() for name, x in op.inputs(dims).items()}
    shared = [given[name][:, :, :2].clone().requires_grad_() for name in op.grouped]
    run = load(plugin_id).run
    assert run is not None

    def found(times: int) -> tuple[torch.Tensor, ...]:
        both = (x.repeat_interleave(times, dim=2) for x in shared)
        with interpret():
            o, state = run(**given | dict(zip(op.grouped, both, strict=True)))
            return (o, state, *torch.autograd.grad(o.square().sum() + state.sum(), shared))

    torch.testing.assert_close(found(1), found(2))
