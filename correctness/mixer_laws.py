"""Mixer laws: what every trainable sequence mixer must obey before it is trained, let alone ranked.

A law takes a ``Subject`` and returns None, or says in one line how it was broken. Two forms of one
mixer may differ by what rounding explains: the bound is ``SLACK`` times the error of the same form in
float32 against float64, scaled down to float64's precision. No bound is typed by hand.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from correctness.case import SLACK
from impl.registry import Plugin

WIDTH, BATCH, LENGTH = 16, 3, 16
"""Sizes of every law; ``lengths`` adds its own."""


@dataclass(frozen=True)
class Subject:
    """A mixer with its knobs; ``make`` builds it afresh with the same weights each time."""

    name: str
    factory: Callable[..., nn.Module]
    knobs: tuple[tuple[str, Any], ...] = ()

    def make(self, dtype: torch.dtype = torch.float64) -> Any:
        """The mixer with the weights of one fixed seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.factory(WIDTH, **dict(self.knobs)).to(dtype)

    def inputs(self, length: int = LENGTH, seed: int = 1) -> Tensor:
        """Normal inputs in float64."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(BATCH, length, WIDTH, generator=generator, dtype=torch.float64)

    def bound(self, x: Tensor) -> float:
        """What rounding in float64 explains of a difference, relative to the output's size."""
        with torch.no_grad():
            exact = self.make()(x)
            rounded = self.make(torch.float32)(x.float()).double()
        single, double = (torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64))
        return SLACK * max(_distance(rounded, exact), single) * double / single


def subjects(plugin: Plugin) -> Iterator[Subject]:
    """The mixer as it comes, with two heads where it takes them, and with each value of each knob."""
    factory = plugin.run
    assert factory is not None
    yield Subject(plugin.id, factory)
    if _builds(factory, heads=2):
        yield Subject(f"{plugin.id}(heads=2)", factory, (("heads", 2),))
    for knob, values in plugin.knobs.items():
        for value in values:
            yield Subject(f"{plugin.id}({knob}={value})", factory, ((knob, value),))


def check(subject: Subject) -> dict[str, str]:
    """Broken laws, with what was found; empty when the mixer obeys them all."""
    return {name: broken for name, broken in answers(subject) if broken is not None}


def answers(subject: Subject) -> Iterator[tuple[str, str | None]]:
    """Every law, and how it is broken; an error that the mixer raises breaks it."""
    for name, law in LAWS.items():
        try:
            yield name, law(subject)
        except Exception as error:  # whatever a mixer raises is an answer about the mixer
            yield name, f"raises {type(error).__name__}: {error}"


def causal(subject: Subject) -> str | None:
    """No output depends on a later input, however large."""
    mixer, x = subject.make(), subject.inputs()
    half = LENGTH // 2
    later = x.clone()
    later[:, half:] *= 1e3
    with torch.no_grad():
        error = _distance(mixer(later)[:, :half], mixer(x)[:, :half])
    return _within(error, subject.bound(x), "an output moved with a later input")


def steps(subject: Subject) -> str | None:
    """The step form, token by token, gives what the parallel form gives at once."""
    mixer, x = subject.make(), subject.inputs()
    state = mixer.initial(BATCH, "cpu", x.dtype)
    with torch.no_grad():
        together = mixer(x)
        single, _ = _walk(mixer, x, state)
    return _within(_distance(single, together), subject.bound(x), "step and parallel form differ")


def state(subject: Subject) -> str | None:
    """The state is as large as declared, and all there is: two sequences taken in turns stay apart."""
    mixer, x, y = subject.make(), subject.inputs(seed=1), subject.inputs(seed=2)
    for length in (0, 1, LENGTH):
        _, after = _walk(mixer, x[:, :length], mixer.initial(BATCH, "cpu", x.dtype))
        held, declared = _elements(after), mixer.state_size(length)
        if held != declared:
            return f"after {length} tokens the state has {held} elements, declared {declared}"
    alone, _ = _walk(mixer, x, mixer.initial(BATCH, "cpu", x.dtype))
    mine, other = (mixer.initial(BATCH, "cpu", x.dtype) for _ in range(2))
    turns = []
    with torch.no_grad():
        for t in range(LENGTH):
            out, mine = mixer.step(x[:, t], mine)
            turns.append(out)
            _, other = mixer.step(y[:, t], other)
    error = _distance(torch.stack(turns, dim=1), alone)
    return _within(error, subject.bound(x), "a second sequence changed the first")


def lengths(subject: Subject) -> str | None:
    """Any length works, and a longer input leaves the outputs of a shorter one as they were."""
    mixer, x = subject.make(), subject.inputs(67)
    with torch.no_grad():
        whole = mixer(x)
        for length in (1, 2, 7, 31, 64, 65):
            part = mixer(x[:, :length])
            if part.shape != (BATCH, length, WIDTH):
                return f"T={length}: output of shape {tuple(part.shape)}"
            error = _distance(part, whole[:, :length])
            if found := _within(error, subject.bound(x), f"T={length} differs from T=67"):
                return found
    return None


def gradients(subject: Subject) -> str | None:
    """Outputs and gradients are finite in float32 on zeros, on constants and on huge inputs."""
    x = subject.inputs().float()
    extremes = {
        "normal": x,
        "zero": torch.zeros_like(x),
        "constant": torch.ones_like(x),
        "huge": 1e4 * x,
        "tiny": 1e-20 * x,
    }
    for what, value in extremes.items():
        mixer = subject.make(torch.float32)
        inputs = value.clone().requires_grad_()
        output = mixer(inputs)
        output.square().mean().backward()
        named = [("output", output), ("input", inputs.grad)]
        named += [(name, p.grad) for name, p in mixer.named_parameters()]
        for name, tensor in named:
            if tensor is not None and not tensor.isfinite().all():
                return f"{what} inputs: {name} has a value or a gradient that is no number"
    return None


def parameters(subject: Subject) -> str | None:
    """Every parameter is at work: models are matched by counting them."""
    mixer, x = subject.make(), subject.inputs()
    mixer(x).square().mean().backward()
    for name, parameter in mixer.named_parameters():
        if parameter.grad is None or not parameter.grad.any():
            return f"no gradient reaches {name}"
    return None


LAWS: dict[str, Callable[[Subject], str | None]] = {
    law.__name__: law for law in (causal, steps, state, lengths, gradients, parameters)
}


def _builds(factory: Callable[..., nn.Module], **knobs: Any) -> bool:
    try:
        factory(WIDTH, **knobs)
    except ValueError:
        return False
    return True


def _walk(mixer: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Outputs of the step form, and the state behind the last token."""
    outputs = []
    with torch.no_grad():
        for t in range(x.shape[1]):
            out, state = mixer.step(x[:, t], state)
            outputs.append(out)
    return torch.stack(outputs, dim=1) if outputs else x, state


def _elements(state: Tensor | tuple[Tensor, ...]) -> int:
    """Real numbers that the state holds for one sequence."""
    tensors = (state,) if isinstance(state, Tensor) else state
    return sum(t[0].numel() * (2 if t.is_complex() else 1) for t in tensors)


def _distance(a: Tensor, b: Tensor) -> float:
    """Root mean square of ``a - b`` over that of ``b``."""
    size = b.square().mean().sqrt().item()
    return (a - b).square().mean().sqrt().item() / (size or 1.0)


def _within(error: float, bound: float, what: str) -> str | None:
    # written so that nan, which compares with nothing, is refused
    return None if error <= bound and math.isfinite(error) else f"{what}: {error:.1e} > {bound:.1e}"
