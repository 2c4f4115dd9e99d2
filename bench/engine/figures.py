"""The sources of a contestant's figures that need no clock: the trace and the allocator.

A source returns figures by metric, or the reason why one is absent.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from .metrics import Way

if TYPE_CHECKING:
    from correctness.case import Case

Found = Mapping[str, float | str]


def bare(case: "Case") -> Callable[[], object]:
    """Nothing but the plugin on inputs that are ready on the device."""
    run, inputs, knobs = case.plugin.run, case.inputs(), case.knobs
    assert run is not None
    return lambda: run(**inputs, **knobs)


def forward(case: "Case") -> Callable[[], object] | str:
    """The forward pass that is timed, or why there is none to time."""
    if "triton" in case.plugin.needs and case.device == "cpu":
        return "a Triton kernel has no time without a GPU"
    return bare(case)


def training_step(case: "Case") -> Callable[[], object] | str:
    """Forward pass and the gradient of every input, as one call, or why there is none to time."""
    import torch

    from correctness.case import probe
    from correctness.op import outputs

    if excuse := case.plugin.excuse("backward", case.device):
        return excuse
    once = forward(case)
    if isinstance(once, str):
        return once
    run, knobs = case.plugin.run, case.knobs
    assert run is not None
    leaves = {name: x.requires_grad_() for name, x in case.inputs().items()}
    probes = [probe(x, seed) for seed, x in enumerate(outputs(run(**leaves, **knobs)))]

    def step() -> object:
        results = outputs(run(**leaves, **knobs))
        return torch.autograd.grad(results, list(leaves.values()), probes)

    return step


CLOCKED: Mapping[Callable[["Case"], Callable[[], object] | str], Sequence[str]] = {
    forward: ("time", "us_per_token", "tokens_per_s"),
    training_step: ("train_time",),
}
"""What the clock takes, and the metrics it becomes."""


def trace(case: "Case", metrics: Sequence[str]) -> Found:
    """What one call does, counted on CPU tensors of the same sizes and dtype."""
    from dataclasses import replace

    from . import traffic

    on_cpu = replace(case, device="cpu")
    inputs = on_cpu.inputs()
    counted = traffic.trace(lambda: on_cpu.run(inputs))
    compulsory = case.op.compulsory_bytes(case.dims, case.dtype)
    found = {
        "traffic": counted.traffic,
        "traffic_ratio": counted.traffic / compulsory,
        "launches": counted.launches,
        "gemms": counted.gemms,
        "flops": counted.flops,
        "live_bytes": counted.peak_bytes,
    }
    return {name: float(found[name]) for name in metrics}


def allocator(case: "Case", metrics: Sequence[str]) -> Found:
    """Most bytes that one call allocates at once on the GPU, beyond its inputs."""
    if case.device == "cpu":
        return dict.fromkeys(metrics, "needs a GPU")
    import torch

    call = bare(case)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return {"peak_memory": float(torch.cuda.max_memory_allocated() - before)}


SOURCES: Mapping[Way, Callable[["Case", Sequence[str]], Found]] = {
    Way.TRACE: trace,
    Way.COUNTER: allocator,
}
