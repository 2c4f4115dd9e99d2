"""Figures of Triton plugins compiled for cards that are not here: what ``bench/static.py`` tracks.

The kernels of one call are taken together: most registers, most shared bytes, all spilled bytes, all
matrix instructions. A kernel that a card cannot launch leaves no figure.
"""

import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..engine import runner, store, suite
from ..engine.metrics import STATIC, STATIC_TRAINING
from ..engine.trackers import Cache
from ..record.benchmark_name import STATIC as STATIC_MODULE
from ..record.benchmark_name import class_name
from ..record.measurement import dims

if TYPE_CHECKING:
    from . import static_report

TARGETS = ("80", "90", "100")
"""Compute capabilities of A100, of H100 and H200, and of B200."""
DTYPE = "bfloat16"
"""What the kernels are compiled for, whatever a suite times on a CPU: what models train in."""


def contests(name: str) -> list[suite.Contest]:
    """The contests of a suite that have a Triton plugin, with those plugins only."""
    found = []
    for contest in suite.load(name).contests:
        triton = [each for each in contest.plugins if not contest.layers and _compiles(each)]
        if triton:
            found.append(dataclasses.replace(contest, plugins=tuple(triton), dtypes=(DTYPE,)))
    return found


def axes(contest: suite.Contest) -> Mapping[str, Sequence[str]]:
    """Parameters of the figures: kernels are specialised on sizes, on the dtype and for a card."""
    return {
        "plugin": contest.plugins,
        "sizes": contest.compiled_sizes or contest.modelled_sizes,
        "dtype": contest.dtypes,
        "target": TARGETS,
    }


def cache(contest: suite.Contest) -> Cache:
    """Compile every kernel of every plugin of the contest; a plugin that cannot is left out."""
    began = int(time.time() * 1e3)
    found = {}
    for plugin, sizes in itertools.product(*list(axes(contest).values())[:2]):
        for training in (False, True) if contest.compiled_sizes else (False,):
            for target, metric, value in figures(plugin, contest.op, sizes, training=training):
                found[plugin, sizes, DTYPE, target, metric] = ((value,), began)
    return found


def metrics(contest: suite.Contest) -> tuple[str, ...]:
    """What is taken of each cell."""
    return (*STATIC, *STATIC_TRAINING) if contest.compiled_sizes else STATIC


def figures(
    plugin: str, op: str, sizes: str, *, training: bool = False
) -> Iterator[tuple[str, str, float]]:
    """Target, metric and value of one plugin on one problem."""
    try:
        found = reports(plugin, op, sizes, training=training)
    except Exception:  # whatever a plugin raises, it has no figure; its contract says why
        return
    for target in TARGETS:
        kernels = [each for each in found if each.target == int(target)]
        if kernels and all(each.fits and each.code for each in kernels):
            taken: dict[str, float] = dict(zip(STATIC, needs(kernels), strict=True))
            for metric in STATIC_TRAINING if training else STATIC:
                yield target, metric, taken[metric.removeprefix("train_")]


def reports(
    plugin: str, op: str, sizes: str, dtype: str = DTYPE, *, training: bool = False
) -> "Sequence[static_report.KernelReport]":
    """Every kernel of one call on every target; none of a problem that the plugin does not accept.

    ``training`` takes the gradient of every input too; a plugin that is excused from it has no
    kernel. Raises what the plugin raises.
    """
    import torch

    from correctness.case import Case, gradients
    from correctness.op import find, outputs
    from impl.registry import load

    from . import static_report

    case = Case(load(plugin), find(op), dims(sizes), getattr(torch, dtype))
    if case.refusal() or (training and case.plugin.excuse("backward", "cuda")):
        return ()
    inputs, run = case.inputs(), case.plugin.run
    assert run is not None

    def call() -> object:
        return (
            gradients(lambda **given: outputs(run(**given)), inputs) if training else run(**inputs)
        )

    return static_report.report(call, tuple(map(int, TARGETS)))


def needs(kernels: "Sequence[static_report.KernelReport]") -> tuple[float, ...]:
    """The figures of ``STATIC`` of kernels that all compiled for one target."""
    codes = [each.code for each in kernels if each.code]
    return (
        float(max(code.registers for code in codes)),
        float(sum(code.spill_stores + code.spill_loads for code in codes)),
        float(max(each.shared for each in kernels)),
        float(sum(sum(code.matrix.values()) for code in codes)),
        float(sum(each.products > 0 and not each.matrix_instructions for each in kernels)),
        float(sum(each.older_products for each in kernels)),
    )


def _compiles(plugin: str) -> bool:
    found = suite.plugins()[plugin]
    return found.needs == ("triton",)


def keep(name: str) -> int:
    """Compile what the store lacks of a suite and store it; the number of contests compiled."""
    place, device, done = store.Place.of(), runner.default_device(), 0
    for contest in contests(name):
        subject = f"{STATIC_MODULE}.{class_name(name, contest.op)}"
        if place.has(device, subject):
            continue
        found = cache(contest)
        grid = tuple(axes(contest).values())
        by_metric: dict[str, dict[tuple[str, ...], tuple[float, ...]]] = {
            m: {} for m in metrics(contest)
        }
        for (*cell, metric), (samples, _) in found.items():
            by_metric[metric][tuple(cell)] = samples
        number = max((rounds for _, rounds in found.values()), default=0)
        everywhere = set(itertools.product(*grid))
        place.write(device, subject, (contest.version, grid), by_metric, everywhere, number)
        done += 1
    return done


if __name__ == "__main__":
    keep(sys.argv[1])
