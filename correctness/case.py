"""Case: one plugin on one problem, and the bound its answers are held to.

The bound is not a constant. The reference runs twice, in float64 and in the dtype under test, on
inputs already rounded to that dtype; a plugin may err ``SLACK`` times as much as the second run does
against the first, on these inputs or on the worst of ``DRAWS`` others like them, or one rounding,
whichever is more. One draw alone would hand out luck: the order in which a machine's BLAS adds
changes what any one of them errs by. Two figures are held to it: the root mean
square over the whole tensor, and the largest error of any element, so that one wrong element among
millions is not averaged away.
"""

import contextlib
import functools
import hashlib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from correctness.op import Op, find, outputs
from impl.registry import Plugin, spoken

SLACK = 4.0
"""Factor between the reference's own error and the bound: two bits."""
DRAWS = 4
"""Further inputs of the same sizes on which the reference shows its own error."""

Inputs = Mapping[str, Tensor]
Alone = tuple[str, slice]
"""One input by name and one output by its place."""
Figures = tuple[float, float]
"""Root mean square and largest error, both relative to the truth's root mean square."""


@dataclass(frozen=True)
class Comparison:
    """The error of one tensor and the bound on it, both relative to the truth's size."""

    what: str
    error: float
    bound: float

    @property
    def excess(self) -> float:
        """Error over bound, infinite for NaN: at most 1 is within the bound."""
        return self.error / self.bound if self.error == self.error else math.inf


@dataclass(frozen=True)
class Case:
    """Plugin x op x sizes x dtype x device: what a check, a benchmark and a claim point at."""

    plugin: Plugin
    op: Op
    dims: Mapping[str, int]
    dtype: torch.dtype
    device: str = "cpu"
    knobs: Mapping[str, Any] = field(default_factory=dict)
    extreme: bool = False
    """Whether the inputs are drawn at the edge of what their laws allow."""

    @property
    def sizes(self) -> str:
        """``B2-T7-D3``, the same in pytest, asv and claims."""
        return "-".join(f"{axis}{size}" for axis, size in self.dims.items())

    @property
    def id(self) -> str:
        """``scans.cyclic_reduction@B2-T7-D3-float32``."""
        return f"{self.plugin.id}@{self.sizes}-{dtype_name(self.dtype)}"

    def refusal(self) -> str | None:
        """What of this case the plugin says it does not accept, or None."""
        facts = {**self.dims, "dtype": dtype_name(self.dtype), "device": self.device}
        facts |= {f"{name}@{self.device}": value for name, value in facts.items()}
        for name, value in facts.items():
            if not self.plugin.accepts_value(name, value):
                return f"{name}={value}, want {spoken(self.plugin.accepts[name])}"
        if "G" in self.dims and self.op.grouped:
            axes = self.plugin_axes()
            if not all("G" in axes.get(name, ()) for name in self.op.grouped):
                return f"G={self.dims['G']}, want as many as H={self.dims['H']}: takes no grouped heads"
        return None

    def plugin_axes(self) -> dict[str, list[str]]:
        """The axes of the plugin's own annotations, by input; none of what has no annotation."""
        assert self.plugin.run is not None
        parameters = inspect.signature(self.plugin.run).parameters
        return {
            name: getattr(each.annotation, "dim_str", "").split()
            for name, each in parameters.items()
        }

    def inputs(self, seed: int = 0) -> dict[str, Tensor]:
        """Inputs in the dtype under test, on the device."""
        exact = self.op.inputs(self.dims, seed, extreme=self.extreme)
        return {name: x.to(self.dtype).to(self.device) for name, x in exact.items()}

    def run(self, inputs: Inputs, **more: Any) -> tuple[Tensor, ...]:
        """The plugin's outputs; call it inside ``executing`` when it is differentiated."""
        assert self.plugin.run is not None
        with executing(self.plugin, self.device):
            return outputs(self.plugin.run(**inputs, **self.knobs, **more))

    def gradients(
        self, inputs: Inputs, *, alone: Alone | None = None, **more: Any
    ) -> dict[str, Tensor]:
        """The gradient of every input through every output, or of one through one."""
        with executing(self.plugin, self.device):
            return gradients(lambda **given: self.run(given, **more), inputs, alone)

    def compare(
        self, got: Sequence[Tensor], inputs: Inputs, reference: Callable[..., Any] | None = None
    ) -> list[Comparison]:
        """Hold outputs to the bound; ``reference`` stands in for the op's own."""
        for mine in got:
            if mine.dtype != self.dtype:
                raise AssertionError(f"output is {mine.dtype}, want {self.dtype}")
        if reference is None:
            truth, plain = self._told(inputs)
        else:
            given = (to(inputs, torch.float64), inputs)
            truth, plain = (dict(enumerate(reference(**each))) for each in given)
        return compare_all(
            "output ", dict(enumerate(got)), truth, plain, self.dtype, self.own_errors()
        )

    def compare_gradients(
        self,
        got: Mapping[str, Tensor],
        inputs: Inputs,
        *,
        alone: Alone | None = None,
        reference: Callable[..., Any] | None = None,
    ) -> list[Comparison]:
        """Hold gradients to the bound."""
        if reference is None:
            truth, plain = self._told(inputs, differentiated=True, alone=alone)
        else:
            truth = gradients(reference, to(inputs, torch.float64), alone)
            plain = gradients(reference, inputs, alone)
        own = self.own_errors(differentiated=True, alone=alone)
        return compare_all("gradient of ", got, truth, plain, self.dtype, own)

    def own_errors(
        self, *, differentiated: bool = False, alone: Alone | None = None
    ) -> Mapping[Any, Figures]:
        """The reference's worst figures of each output or gradient over further draws.

        Nothing here is more exact than float64, so in float64 they are those of float32, in
        proportion to one rounding.
        """
        dims, one = tuple(self.dims.items()), _place(alone)
        known = torch.float32 if self.dtype == torch.float64 else self.dtype
        found = _own_errors(
            self.op.name, dims, known, self.device, self.extreme, differentiated, one
        )
        finer = torch.finfo(self.dtype).eps / torch.finfo(known).eps
        return {name: (whole * finer, peak * finer) for name, (whole, peak) in found.items()}

    def _told(
        self, inputs: Inputs, *, differentiated: bool = False, alone: Alone | None = None
    ) -> tuple[dict[Any, Tensor], dict[Any, Tensor]]:
        """What the op's reference answers in float64 and in the dtype of the inputs."""
        exact, plain = (
            _answer(
                Question(
                    reference=self.op.reference,
                    bits=tuple((name, _bits(x)) for name, x in each.items()),
                    differentiated=differentiated,
                    alone=_place(alone),
                    allocator=torch.empty,
                    op=self.op,
                    inputs=each,
                )
            )
            for each in (to(inputs, torch.float64), inputs)
        )
        return exact, plain


@dataclass(frozen=True, kw_only=True)
class Question:
    """What an op's reference is asked, equal to another question about the same bits.

    Promises ask most of them again: of every knob, and of every plugin of the op.
    """

    reference: Callable[..., Any]
    bits: tuple[Any, ...]
    differentiated: bool
    alone: tuple[str, int] | None
    allocator: Any
    """Fresh bytes that are made to hold NaN are part of the question."""
    op: Op = field(compare=False)
    inputs: Inputs = field(compare=False)


@functools.lru_cache(maxsize=512)
def _answer(asked: Question) -> dict[Any, Tensor]:
    if asked.differentiated:
        return gradients(asked.op, asked.inputs, _alone(asked.alone))
    # a copy, for an output may be a view of an input, which is the plugin's to spoil
    return {i: x.clone() for i, x in enumerate(asked.op(**asked.inputs))}


def _bits(x: Tensor) -> tuple[Any, ...]:
    raw = x.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return x.dtype, x.device, x.shape, hashlib.sha256(raw.numpy().tobytes()).digest()


def _place(alone: Alone | None) -> tuple[str, int] | None:
    """``alone`` as a key: a slice has no hash."""
    return alone and (alone[0], alone[1].start)


def _alone(place: tuple[str, int] | None) -> Alone | None:
    return place and (place[0], slice(place[1], place[1] + 1))


@functools.cache
def _own_errors(
    op: str,
    dims: tuple[tuple[str, int], ...],
    dtype: torch.dtype,
    device: str,
    extreme: bool,  # noqa: FBT001
    differentiated: bool,  # noqa: FBT001
    alone: tuple[str, int] | None,
) -> Mapping[Any, Figures]:
    reference, one = find(op), _alone(alone)

    def answers(inputs: Inputs) -> dict[Any, Tensor]:
        if differentiated:
            return gradients(reference, inputs, one)
        return dict(enumerate(reference(**inputs)))

    def draws() -> Iterator[tuple[dict[Any, Tensor], dict[Any, Tensor]]]:
        for seed in range(1, DRAWS + 1):
            exact = reference.inputs(dict(dims), seed, extreme=extreme)
            inputs = {name: x.to(dtype).to(device) for name, x in exact.items()}
            yield answers(inputs), answers(to(inputs, torch.float64))

    return worst_figures(draws())


def worst_figures(
    draws: Iterable[tuple[Mapping[Any, Tensor], Mapping[Any, Tensor]]],
) -> Mapping[Any, Figures]:
    """The worst figures of each tensor over draws of the reference's answers, plain and true."""
    worst: dict[Any, Figures] = {}
    for plain, truth in draws:
        largest = max(rms(true) for true in truth.values())
        for name, true in truth.items():
            found, before = _figures(plain[name], true, largest), worst.get(name, (0.0, 0.0))
            worst[name] = (max(found[0], before[0]), max(found[1], before[1]))
    return worst


def compare_all(
    what: str,
    got: Mapping[Any, Tensor],
    truth: Mapping[Any, Tensor],
    plain: Mapping[Any, Tensor],
    dtype: torch.dtype,
    own: Mapping[Any, Figures] | None = None,
) -> list[Comparison]:
    """Compare by name; a tensor that must vanish is measured against the largest of its kind."""
    own = own or dict.fromkeys(got, (0.0, 0.0))
    if set(got) != set(truth):
        raise AssertionError(f"{what}{sorted(got)}, want {sorted(truth)}")
    for name, mine in got.items():
        if mine.shape != truth[name].shape:
            raise AssertionError(f"{what}{name} is {[*mine.shape]}, want {[*truth[name].shape]}")
    largest = max(rms(true) for true in truth.values())
    return [
        compare(f"{what}{name}", got[name], truth[name], plain[name], dtype, own[name], largest)
        for name in got
    ]


def compare(
    what: str,
    got: Tensor,
    want: Tensor,
    naive: Tensor,
    dtype: torch.dtype,
    own: Figures = (0.0, 0.0),
    scale: float = 0.0,
) -> Comparison:
    """The worse of the two figures of ``got``, beside its bound.

    ``own`` is what the reference erred by elsewhere; ``scale`` stands in for the truth's size where
    the truth is zero everywhere.
    """
    rounding = torch.finfo(dtype).eps
    # one rounding of the largest element is the least that the largest error can be held to
    least = (rounding, max(rounding, rounding * _peak(want) / (rms(want) or scale or 1.0)))
    errors, naive_errors = _figures(got, want, scale), _figures(naive, want, scale)
    bounds = [SLACK * max(each) for each in zip(naive_errors, own, least, strict=True)]
    found = [Comparison(what, *each) for each in zip(errors, bounds, strict=True)]
    return max(found, key=lambda each: each.excess)


def _figures(got: Tensor, want: Tensor, scale: float) -> Figures:
    """Root mean square and largest error, relative to the size of ``want``."""
    size, error = rms(want) or scale or 1.0, got.double() - want.double()
    return rms(error) / size, _peak(error) / size


def gradients(
    run: Callable[..., Any], inputs: Inputs, alone: Alone | None = None
) -> dict[str, Tensor]:
    """The gradient of every input of ``run``, its outputs weighted by fixed random probes.

    With ``alone``, of one input through one output, the other inputs frozen and outputs unused.
    """
    name, output = alone or (None, slice(None))
    leaves = {
        each: x.detach().clone().requires_grad_(name in (None, each)) for each, x in inputs.items()
    }
    results = list(enumerate(outputs(run(**leaves))))[output]
    probes = [probe(x, seed) for seed, x in results]
    wanted = {each: x for each, x in leaves.items() if x.requires_grad}
    found = torch.autograd.grad(
        [x for _, x in results], list(wanted.values()), probes, allow_unused=True
    )
    for each, gradient in zip(wanted, found, strict=True):
        if gradient is None:
            raise AssertionError(f"no gradient reaches {each}")
    return dict(zip(wanted, found, strict=True))


def probe(like: Tensor, seed: int) -> Tensor:
    """A fixed random tensor of the shape and dtype of ``like``."""
    rng = torch.Generator().manual_seed(1000 + seed)
    return torch.randn(like.shape, generator=rng, dtype=torch.float64).to(like)


@contextlib.contextmanager
def executing(plugin: Plugin, device: str) -> Iterator[None]:
    """Run a Triton plugin through the interpreter when the device is a CPU."""
    if "triton" in plugin.needs and device == "cpu":
        from correctness.interpreter import interpret

        with interpret():
            yield
    else:
        yield


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def _peak(x: Tensor) -> float:
    return x.double().abs().amax().item()


def rms(x: Tensor) -> float:
    return (x.double().norm() / x.numel() ** 0.5).item()


def to(inputs: Inputs, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: x.to(dtype) for name, x in inputs.items()}
