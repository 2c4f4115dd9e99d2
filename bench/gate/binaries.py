"""A Triton plugin's kernels on both sides of a change, compiled for cards that are not here.

Each side compiles in a process of its own, under the driver that pretends to be the card. What comes
back are plain values, so that two sides can be compared where no triton is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..binary import compiled
from ..binary.occupancy import occupancy
from ..engine.checkout import Commit
from ..engine.metrics import STATIC
from ..hardware.roofline import cards
from ..lab.workers import each_apart

TRAINING = " training step"
"""After the name of a card: the call and the gradient of every input, instead of the call alone."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One plugin on one problem."""

    plugin: str
    op: str
    sizes: str
    dtype: str = compiled.DTYPE


@dataclass(frozen=True, kw_only=True)
class Target:
    """The kernels of one call, taken together, on one compute capability."""

    figures: Mapping[str, float]
    """``registers``, ``spills``, ``shared``, ``mma``; none when a kernel cannot be launched."""
    occupancy: float
    """Resident threads of a multiprocessor over those it can hold, of the kernel with the fewest."""
    broken: str
    """Why a kernel cannot be launched on this card, or nothing."""
    identity: tuple[str, ...]
    """What was launched: kernel, grid, times, constants, options and machine code of each."""


Compiled = Mapping[str, Target] | str
"""``sm_90``, or ``sm_90 training step``, to what was compiled for it, or why nothing was."""


def both(
    subjects: Sequence[Subject], base: Commit, head: Commit, tell: Callable[[str], None]
) -> Mapping[Subject, tuple[Compiled, Compiled]]:
    """Every subject compiled on both sides."""
    before, after = (
        dict(_side(subjects, name, at, tell)) for name, at in (("base", base), ("head", head))
    )
    return {each: (before[each], after[each]) for each in subjects}


def _side(
    subjects: Sequence[Subject], name: str, at: Commit, tell: Callable[[str], None]
) -> Sequence[tuple[Subject, Compiled]]:
    found = {}
    for number, answer in each_apart(targets, subjects, at=at):
        subject = subjects[number]
        tell(f"{name}: {subject.plugin} compiled at {subject.sizes}")
        found[subject] = str(answer) if isinstance(answer, Exception) else answer
    return [(each, found[each]) for each in subjects]


def identical(base: Compiled, head: Compiled) -> bool:
    """Whether both sides launch the same machine code on every card, as often and as wide."""
    if isinstance(base, str) or isinstance(head, str) or not base:
        return False
    return base.keys() == head.keys() and all(
        base[name].identity == head[name].identity and not base[name].broken for name in base
    )


def targets(subject: Subject) -> Mapping[str, Target]:
    """Compile in this process; no target for a plugin that launches no kernel on the problem."""
    found: dict[str, Target] = {}
    for call, training in (("", False), (TRAINING, True)):
        kernels: dict[int, list[compiled.static_report.KernelReport]] = {}
        for each in compiled.reports(
            subject.plugin, subject.op, subject.sizes, subject.dtype, training=training
        ):
            kernels.setdefault(each.target, []).append(each)
        found |= {f"sm_{target}{call}": _target(target, mine) for target, mine in kernels.items()}
    return found


def _target(target: int, kernels: "Sequence[compiled.static_report.KernelReport]") -> Target:
    broken = sorted({reason for each in kernels if (reason := _broken(each))})
    return Target(
        figures={} if broken else dict(zip(STATIC, compiled.needs(kernels), strict=True)),
        occupancy=0.0 if broken else min(_share(target, each) for each in kernels),
        broken="; ".join(broken),
        identity=tuple(sorted(map(_identity, kernels))),
    )


def _broken(kernel: "compiled.static_report.KernelReport") -> str:
    if kernel.error:
        return f"{kernel.kernel} does not compile: {kernel.error}"
    if not kernel.fits:
        return (
            f"{kernel.kernel} needs {kernel.shared} bytes of shared storage a block, "
            f"the card has {kernel.shared_limit}"
        )
    return ""


def _share(target: int, kernel: "compiled.static_report.KernelReport") -> float:
    (card, *_) = [each for each in cards().values() if each.sms and each.target == target]
    assert kernel.code is not None
    return occupancy(
        card, registers=kernel.code.registers, threads=kernel.threads, shared=kernel.shared
    ).share


def _identity(kernel: "compiled.static_report.KernelReport") -> str:
    constants = sorted((name, str(value)) for name, value in kernel.constants.items())
    options = sorted((name, str(value)) for name, value in kernel.options.items())
    digest = kernel.code.digest if kernel.code else kernel.error
    return repr((kernel.kernel, kernel.grid, kernel.launches, constants, options, digest))
