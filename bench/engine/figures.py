"""The sources of a contestant's figures that need no clock: the trace and the allocator.

A source returns figures by metric, or the reason why one is absent.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .layer import Layer
from .metrics import TRAINING_TRACE, Way

if TYPE_CHECKING:
    from torch import Tensor

    from correctness.case import Case

Found = Mapping[str, float | str]


def ready(case: "Case | Layer") -> tuple[Callable[..., Any], "list[Tensor]"]:
    """The plugin with its knobs, and the weights where it is a layer."""
    if isinstance(case, Layer):
        module = case.module()

        def layer(x: "Tensor") -> "Tensor":
            return module(x)  # a mixer calls its argument what it likes

        return layer, [*module.parameters()]
    run = case.plugin.run
    assert run is not None
    return functools.partial(run, **case.knobs), []


def bare(case: "Case | Layer") -> Callable[[], object]:
    """Nothing but the plugin on inputs that are ready on the device."""
    inputs, (run, _) = case.inputs(), ready(case)
    return lambda: run(**inputs)


def forward(case: "Case | Layer") -> Callable[[], object] | str:
    """The forward pass that is timed, or why there is none to time."""
    if "triton" in case.plugin.needs and case.device == "cpu":
        return "a Triton kernel has no time without a GPU"
    return bare(case)


def training_step(case: "Case | Layer") -> Callable[[], object] | str:
    """The training step that is timed, or why there is none to time."""
    if excuse := case.plugin.excuse("backward", case.device):
        return excuse
    once = forward(case)
    return once if isinstance(once, str) else gradient_call(case)


def gradient_call(case: "Case | Layer") -> Callable[[], object]:
    """Forward pass and the gradient of every input and weight, as one call."""
    import torch

    from correctness.case import executing, probe
    from correctness.op import outputs

    run, weights = ready(case)
    inputs = case.inputs()
    leaves = [leaf.requires_grad_() for leaf in (*inputs.values(), *weights)]
    with executing(case.plugin, case.device):
        probes = [probe(x, seed) for seed, x in enumerate(outputs(run(**inputs)))]

    def step() -> object:
        return torch.autograd.grad(outputs(run(**inputs)), leaves, probes)

    return step


CLOCKED: Mapping[Callable[["Case | Layer"], Callable[[], object] | str], Sequence[str]] = {
    forward: ("time", "us_per_token", "tokens_per_s"),
    training_step: ("train_time",),
}
"""What the clock takes, and the metrics it becomes."""


def trace(case: "Case | Layer", metrics: Sequence[str]) -> Found:
    """What one call does, counted on CPU tensors of the same sizes and dtype."""
    from dataclasses import replace

    from ..trace import traffic

    here = replace(case, device="cpu")
    counted = traffic.trace(bare(here))
    found: dict[str, float | str] = {
        "traffic": float(counted.traffic),
        "traffic_ratio": counted.traffic / compulsory_bytes(case),
        "launches": float(counted.launches),
        "gemms": float(counted.gemms),
        "flops": float(counted.flops),
        "live_bytes": float(counted.peak_bytes),
    }
    if {*TRAINING_TRACE} & {*metrics}:
        found |= training_trace(here, counted.traffic)
    return {name: found[name] for name in metrics}


def training_trace(case: "Case | Layer", forward_bytes: int) -> Found:
    """What a training step moves, and what of it is more than ``forward_bytes``, over the least there is.

    The backward pass has to read every input and the gradient of every output, and to write the
    gradient of every input. What the forward pass leaves for it counts as its own.
    """
    from ..trace import traffic

    if excuse := case.plugin.excuse("backward", "cpu"):
        return dict.fromkeys(TRAINING_TRACE, excuse)
    step = traffic.trace(gradient_call(case))
    inputs = sum(x.nbytes for x in case.inputs().values())
    least = inputs + compulsory_bytes(case)
    return {
        "train_traffic": float(step.traffic),
        "backward_traffic_ratio": (step.traffic - forward_bytes) / least,
    }


def definition(case: "Case | Layer", metrics: Sequence[str]) -> Found:
    """What any implementation has to move at these sizes."""
    return {"compulsory": float(compulsory_bytes(case))}


def compulsory_bytes(case: "Case | Layer") -> int:
    """Of every input read once and every output written once; of a layer its weights too."""
    if isinstance(case, Layer):
        return case.compulsory_bytes()
    return case.op.compulsory_bytes(case.dims, case.dtype)


def allocator(case: "Case | Layer", metrics: Sequence[str]) -> Found:
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


SOURCES: Mapping[Way, Callable[["Case | Layer", Sequence[str]], Found]] = {
    Way.TRACE: trace,
    Way.COUNTER: allocator,
    Way.DEFINITION: definition,
}
