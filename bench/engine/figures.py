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
    """The call that is timed: nothing but the plugin on inputs that are ready on the device."""
    run, inputs, knobs = case.plugin.run, case.inputs(), case.knobs
    assert run is not None
    return lambda: run(**inputs, **knobs)


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
