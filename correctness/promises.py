"""The promises every implementation makes, one a function.

A promise takes one ``Case``; it returns comparisons with the truth, raises AssertionError when it is
broken, ``Unsupported`` when it does not apply to the plugin, ``NotRun`` when this machine cannot try it.
"""

import contextlib
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from correctness.case import (
    Case,
    Comparison,
    Inputs,
    compare,
    compare_all,
    dtype_name,
    executing,
    probe,
    to,
)
from correctness.op import outputs
from impl.registry import allows

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16


class Unsupported(Exception):
    """The promise does not apply to this plugin, with the reason."""


class NotRun(Exception):
    """The promise cannot be tried on this machine, with the reason."""


Promise = Callable[[Case], list[Comparison]]


@dataclass(frozen=True)
class Check:
    """A promise and the problems it is tried on: indices into the op's sizes, by dtype."""

    promise: Promise
    problems: Mapping[torch.dtype, Sequence[int]]

    @property
    def name(self) -> str:
        """The name by which it is excused."""
        return self.promise.__name__


CHECKS: list[Check] = []


def check_on(problems: Mapping[torch.dtype, Sequence[int]]) -> Callable[[Promise], Promise]:
    """Add the decorated promise to the contract, to be tried on these problems."""

    def add(promise: Promise) -> Promise:
        CHECKS.append(Check(promise, problems))
        return promise

    return add


ONE, PRIME, TILE, UNEVEN, LONG = range(5)


@check_on({F32: (PRIME,)})
def signature(case: Case) -> list[Comparison]:
    """Takes the op's inputs by name and in order, knobs by keyword with an admissible default."""
    assert case.plugin.run is not None
    parameters = inspect.signature(case.plugin.run).parameters
    inputs = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert inputs == list(case.op.inputs_axes), f"takes {inputs}, want {[*case.op.inputs_axes]}"
    for name in case.op.optional:
        assert parameters[name].default is None, (
            f"{name} is optional in the op, want a default None"
        )
    knobs = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    knobs.pop("cu_seqlens", None)
    assert set(knobs) == set(case.plugin.knobs), (
        f"knobs {[*knobs]}, declared {[*case.plugin.knobs]}"
    )
    for name, default in knobs.items():
        assert default in case.plugin.knobs[name], f"{name}={default} by default, not admissible"
    return []


@check_on({F32: (ONE, PRIME, TILE, UNEVEN, LONG), BF16: (PRIME, UNEVEN), F16: (UNEVEN,)})
def forward(case: Case) -> list[Comparison]:
    """The outputs equal the reference's."""
    inputs = case.inputs()
    return case.compare(case.run(inputs), inputs)


@check_on({F32: (ONE, PRIME)})
def defaults(case: Case) -> list[Comparison]:
    """Optional inputs left out count as zero."""
    _applies(case.op.optional, "the op has no optional input")
    inputs = {name: x for name, x in case.inputs().items() if name not in case.op.optional}
    return case.compare(case.run(inputs), inputs)


@check_on({F32: (ONE, PRIME, UNEVEN, LONG), BF16: (UNEVEN,)})
def backward(case: Case) -> list[Comparison]:
    """The gradient of every input, gates and initial state included, equals the reference's."""
    inputs = case.inputs()
    return case.compare_gradients(case.gradients(inputs), inputs)


@check_on({F32: (PRIME,)})
def lone_backward(case: Case) -> list[Comparison]:
    """A frozen input and an unused output disturb no other gradient."""
    _applies(_differentiable(case), "the backward pass is excused")
    inputs, found = case.inputs(), []
    for name, i in itertools.product(inputs, range(len(case.op.output_axes))):
        alone = (name, slice(i, i + 1))
        if case.op.reaches(name, i):
            mine = case.gradients(inputs, alone=alone)
            found += case.compare_gradients(mine, inputs, alone=alone)
    return found


@check_on({F32: (PRIME,)})
def pure(case: Case) -> list[Comparison]:
    """The inputs come back as they went in, from the forward and from the backward pass."""
    inputs, before = case.inputs(), case.inputs()
    case.run(inputs)
    _all_equal(inputs, before, "was changed in place by the forward pass")
    if _differentiable(case):
        leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
        with executing(case.plugin, case.device):
            results = case.run(leaves)
            probes = [probe(x, seed) for seed, x in enumerate(results)]
            torch.autograd.grad(results, list(leaves.values()), probes, allow_unused=True)
        _all_equal(leaves, before, "was changed in place by the backward pass")
        after = dict(enumerate(probes))
        _all_equal(after, {i: probe(x, i) for i, x in after.items()}, "gradient was changed")
    return []


@check_on({F32: (UNEVEN,), BF16: (UNEVEN,)})
def repeatable(case: Case) -> list[Comparison]:
    """The same inputs give the same bits, gradients too."""
    inputs = case.inputs()
    first, second = (dict(enumerate(case.run(inputs))) for _ in range(2))
    _all_equal(first, second, "differs between two runs")
    if _differentiable(case):
        first, second = (case.gradients(inputs) for _ in range(2))
        _all_equal(first, second, "has a gradient that differs between two runs")
    return []


@check_on({F32: (PRIME,)})
def strided(case: Case) -> list[Comparison]:
    """Views give the same answer: every second element of a buffer, and transposed storage."""
    inputs = case.inputs()
    found = []
    for view in (_every_second, _transposed):
        found += case.compare(case.run({name: view(x) for name, x in inputs.items()}), inputs)
    return found


@check_on({F32: (PRIME,)})
def strided_backward(case: Case) -> list[Comparison]:
    """A gradient that arrives as one number expanded to a view, as ``sum()`` sends it, is read right."""
    _applies(_differentiable(case), "the backward pass is excused")
    inputs = case.inputs()

    def total(run: Callable[..., Any], given: Inputs) -> dict[str, Tensor]:
        leaves = {name: x.clone().requires_grad_() for name, x in given.items()}
        with executing(case.plugin, case.device):
            result = sum(x.sum() for x in outputs(run(**leaves)))
            assert isinstance(result, Tensor)
            return dict(
                zip(leaves, torch.autograd.grad(result, list(leaves.values())), strict=True)
            )

    mine = total(lambda **given: case.run(given), inputs)
    truth, plain = total(case.op, to(inputs, torch.float64)), total(case.op, inputs)
    own = case.own_errors(differentiated=True)
    return compare_all("gradient of ", mine, truth, plain, case.dtype, own)


@check_on({F32: (UNEVEN,)})
def complete(case: Case) -> list[Comparison]:
    """Every element of every result is written: fresh allocations hold NaN."""
    inputs = case.inputs()
    with allocations_hold(math.nan):
        found = case.compare(case.run(inputs), inputs)
        if _differentiable(case):
            found += case.compare_gradients(case.gradients(inputs), inputs)
    return found


@check_on({F32: (UNEVEN,)})
def refuses(case: Case) -> list[Comparison]:
    """Sizes beyond its limit, and inputs that do not fit each other, raise; the limit itself runs."""
    inputs = case.inputs()
    along = {name: axes for name, axes in case.op.inputs_axes.items() if "T" in axes}
    for name, axes in along.items():
        # where no other input has steps, one fewer is only a shorter problem
        if len(along) > 1:
            shorter = {**inputs, name: inputs[name].narrow(axes.index("T"), 0, case.dims["T"] - 1)}
            _must_raise(case, shorter, (ValueError, RuntimeError), f"{name} is a step short")
    for sizes in case.op.refused:
        other = replace(case, dims=sizes)
        _must_raise(other, other.inputs(), (ValueError,), f"{other.sizes}")
    for name, wish in case.plugin.accepts.items():
        if name in case.dims:
            dims = {**case.dims, name: _beyond(wish, case.dims[name])}
            other = replace(case, dims=dims)
            _must_raise(other, other.inputs(), (ValueError,), f"{name}={dims[name]}")
            if edge := _edge(wish):
                largest = replace(case, dims={**case.dims, name: edge})
                largest.run(largest.inputs())
        elif name == "dtype":
            for dtype in (torch.float64, F16, BF16):
                if not case.plugin.accepts_value("dtype", dtype_name(dtype)):
                    other = replace(case, dtype=dtype)
                    _must_raise(other, other.inputs(), (ValueError,), f"dtype={dtype_name(dtype)}")
    return []


@check_on({F32: (UNEVEN,)})
def causal(case: Case) -> list[Comparison]:
    """No output depends on a later input, however large that is."""
    inputs, other = case.inputs(), case.inputs(seed=1)
    half = case.dims["T"] // 2
    later = {
        name: torch.cat([x[:, :half], other[name][:, half:] * _loud(case, name)], dim=1)
        if case.op.inputs_axes[name][:2] == ("B", "T")
        else x
        for name, x in inputs.items()
    }
    found = []
    truth, plain = case.op(**to(inputs, torch.float64)), case.op(**inputs)
    for i, each in enumerate(zip(case.run(later), truth, plain, strict=True)):
        if "T" in case.op.output_axes[i]:
            mine, true, naive = (x[:, :half] for x in each)
            own = case.own_errors()[i]
            found.append(compare(f"first half of output {i}", mine, true, naive, case.dtype, own))
    return found


@check_on({F32: (UNEVEN, LONG)})
def composes(case: Case) -> list[Comparison]:
    """Cutting the sequence anywhere and handing over the state changes nothing."""
    state = _state(case)
    inputs, length = case.inputs(), case.dims["T"]
    found = []
    for cut in sorted({1, length // 3, length - 1}):
        left = case.run(_steps(case, inputs, 0, cut) | {state: inputs[state]})
        right = case.run(_steps(case, inputs, cut, length) | {state: case.op.final_state(left)})
        found += case.compare(_joined(case, [left, right]), inputs)
    return found


@check_on({F32: (PRIME,)})
def steps(case: Case) -> list[Comparison]:
    """One step at a time, the state handed on, gives what the whole sequence gives."""
    state = _state(case)
    inputs = case.inputs()
    pieces, now = [], inputs[state]
    for t in range(case.dims["T"]):
        pieces.append(case.run(_steps(case, inputs, t, t + 1) | {state: now}))
        now = case.op.final_state(pieces[-1])
    return case.compare(_joined(case, pieces), inputs)


@check_on({F32: (PRIME,)})
def linear(case: Case) -> list[Comparison]:
    """Linear in the inputs the op is linear in: 2**20 times as large in, 2**20 times as large out."""
    _applies(case.op.linear_in, "the op is linear in no input")
    found = []
    for scale in (2.0**20, 2.0**-20):
        inputs = case.inputs()
        scaled = {n: x * scale if n in case.op.linear_in else x for n, x in inputs.items()}
        found += case.compare([x / scale for x in case.run(scaled)], inputs)
    return found


@check_on({F32: (UNEVEN,)})
def packed(case: Case) -> list[Comparison]:
    """Sequences packed behind one another give what each gives alone, gradients too."""
    assert case.plugin.run is not None
    takes = "cu_seqlens" in inspect.signature(case.plugin.run).parameters
    _applies(takes, "takes no cu_seqlens")
    state = _state(case)
    ends = [0, 1, case.dims["T"] - 7, case.dims["T"]]
    pieces = list(itertools.pairwise(ends))
    inputs = replace(case, dims={**case.dims, "B": 1}).inputs()
    states = replace(case, dims={**case.dims, "B": len(pieces)}).inputs()
    inputs[state] = states[state]

    def apart(**given: Tensor) -> list[Tensor]:
        found = [
            case.op(**_steps(case, given, *piece), **{state: given[state][i : i + 1]})
            for i, piece in enumerate(pieces)
        ]
        return [
            torch.cat([each[0] for each in found], dim=1),
            torch.cat([each[1] for each in found]),
        ]

    cu_seqlens = torch.tensor(ends, dtype=torch.int32, device=case.device)
    found = case.compare(case.run(inputs, cu_seqlens=cu_seqlens), inputs, apart)
    if _differentiable(case):
        mine = case.gradients(inputs, cu_seqlens=cu_seqlens)
        found += case.compare_gradients(mine, inputs, reference=apart)
    return found


@check_on({F32: (PRIME, UNEVEN)})
def grouped_heads(case: Case) -> list[Comparison]:
    """Two heads of the inputs that may be shared, each by two neighbours, give what copies give."""
    assert case.plugin.run is not None
    axes = case.plugin_axes()
    takes = [name for name in case.op.grouped if "G" in axes[name]]
    _applies(takes, "takes no grouped heads")
    assert takes == list(case.op.grouped), f"groups {takes}, want {[*case.op.grouped]}"
    whole = replace(case, dims={**case.dims, "H": 4}).inputs()
    uneven = {
        name: x.narrow(axes[name].index("G"), 0, 3) if name in takes else x
        for name, x in whole.items()
    }
    _must_raise(case, uneven, (ValueError,), "H=4 is no multiple of G=3")
    case = replace(case, dims={**case.dims, "H": 4, "G": 2})
    inputs = case.inputs()
    found = case.compare(case.run(inputs), inputs)
    if _differentiable(case):
        found += case.compare_gradients(case.gradients(inputs), inputs)
    return found


@check_on({F32: (UNEVEN,), BF16: (UNEVEN,)})
def extreme(case: Case) -> list[Comparison]:
    """Gates almost shut and wide open, repeated keys, large values: finite and within the bound."""
    case = replace(case, extreme=True)
    inputs = case.inputs()
    found = case.compare(case.run(inputs), inputs)
    if _differentiable(case):
        found += case.compare_gradients(case.gradients(inputs), inputs)
    return found


@check_on({F32: (LONG,)})
def growth(case: Case) -> list[Comparison]:
    """Over 1024 steps the error grows no faster than the reference's."""
    longer = replace(case, dims={**case.dims, "B": 1, "T": 1024})
    inputs = longer.inputs()
    return longer.compare(longer.run(inputs), inputs)


@check_on({F32: (LONG,)})
def knobs(case: Case) -> list[Comparison]:
    """Every admissible value of every knob gives the same answer, gradients too."""
    _applies(case.plugin.knobs, "has no knobs")
    inputs, found = case.inputs(), []
    for name, values in case.plugin.knobs.items():
        for value in values:
            turned = replace(case, knobs={name: value})
            found += turned.compare(turned.run(inputs), inputs)
            if _differentiable(case):
                found += turned.compare_gradients(turned.gradients(inputs), inputs)
    return found


@check_on({F32: (UNEVEN,)})
def stream(case: Case) -> list[Comparison]:
    """Works on the caller's CUDA stream, not beside it."""
    if case.device == "cpu":
        raise NotRun("needs a CUDA GPU")
    inputs = case.inputs()
    torch.cuda.synchronize()
    late = {name: torch.empty_like(x) for name, x in inputs.items()}
    with torch.cuda.stream(torch.cuda.Stream()):  # pyright: ignore[reportArgumentType]
        torch.cuda._sleep(10_000_000)
        for name, x in late.items():
            x.copy_(inputs[name])
        got = case.run(late)
        torch.cuda.current_stream().synchronize()
    return case.compare(got, inputs)


@contextlib.contextmanager
def allocations_hold(value: float) -> Iterator[None]:
    """Fill what ``torch.empty`` and its kin hand out with ``value``, floating-point tensors only."""

    def filled(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def allocate(*args: Any, **kwargs: Any) -> Tensor:
            made = make(*args, **kwargs)
            return made.fill_(value) if made.is_floating_point() else made

        return allocate

    places = [(torch, "empty"), (torch, "empty_like"), (torch, "empty_strided")]
    places += [(Tensor, "new_empty"), (Tensor, "new_empty_strided")]
    before = [(place, name, getattr(place, name)) for place, name in places]
    for place, name, make in before:
        setattr(place, name, filled(make))
    try:
        yield
    finally:
        for place, name, make in before:
            setattr(place, name, make)


def _applies(condition: object, reason: str) -> None:
    if not condition:
        raise Unsupported(reason)


def _differentiable(case: Case) -> bool:
    return case.plugin.excuse("backward", case.device) is None


def _all_equal(first: Mapping[Any, Tensor], second: Mapping[Any, Tensor], complaint: str) -> None:
    for name, x in first.items():
        if not torch.equal(x, second[name]):
            raise AssertionError(f"{name} {complaint}")


def _every_second(x: Tensor) -> Tensor:
    return torch.stack([x, torch.full_like(x, math.nan)], dim=-1)[..., 0]


def _transposed(x: Tensor) -> Tensor:
    if x.dim() < 3:
        return _every_second(x)
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def _must_raise(case: Case, inputs: Inputs, errors: tuple[type[Exception], ...], what: str) -> None:
    try:
        case.run(inputs)
    except errors:
        return
    raise AssertionError(f"accepts that {what}, want {errors[0].__name__}")


def _beyond(wish: Any, size: int) -> int:
    """The nearest size that ``wish`` does not allow."""
    edge = _edge(wish) or size
    return next(each for each in itertools.count(edge + 1) if not allows(wish, each))


def _edge(wish: Any) -> int | None:
    """The largest size that ``wish`` allows, if it sets a limit."""
    return wish.get("at_most") if isinstance(wish, Mapping) else None


def _state(case: Case) -> str:
    if case.op.state is None:
        raise Unsupported("the op carries no state")
    return case.op.state


def _loud(case: Case, name: str) -> float:
    return 1e3 if name not in case.op.draw else 1.0


def _steps(case: Case, inputs: Inputs, start: int, stop: int) -> dict[str, Tensor]:
    """The inputs of some steps, without the state."""
    return {
        name: x.narrow(axes.index("T"), start, stop - start) if "T" in axes else x
        for (name, axes), x in zip(case.op.inputs_axes.items(), inputs.values(), strict=True)
        if name != case.op.state
    }


def _joined(case: Case, pieces: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [
        torch.cat([piece[i] for piece in pieces], dim=axes.index("T"))
        if "T" in axes
        else pieces[-1][i]
        for i, axes in enumerate(case.op.output_axes)
    ]
