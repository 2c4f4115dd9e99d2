"""Op: a dense reference and the exam that follows from its annotations."""

import functools
import importlib
import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args, get_origin

import torch
from torch import Tensor

OPS = Path(__file__).parent / "ops"


class Draw(Protocol):
    """An input law: draws a float64 tensor that obeys it."""

    def __call__(
        self, shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool
    ) -> Tensor: ...


@dataclass(frozen=True)
class Op:
    """A mathematical function: its float64 reference, input laws and algebraic laws."""

    name: str
    reference: Callable[..., Any]
    inputs_axes: Mapping[str, tuple[str, ...]]
    """Input to its axes, in the order of the reference's parameters."""
    output_axes: tuple[tuple[str, ...], ...]
    optional: frozenset[str]
    """Inputs that may be left out."""
    draw: Mapping[str, Draw]
    linear_in: tuple[str, ...]
    """Inputs in which the outputs are jointly linear."""
    state: str | None
    """Name of the initial state, when the op carries one along T."""
    packs: bool
    """Whether several sequences may lie behind one another, divided by ``cu_seqlens``."""
    sizes: tuple[Mapping[str, int], ...]
    """Problems of the contract: one step, a prime, a tile, a tile and a step, uneven heads."""
    refused: tuple[Mapping[str, int], ...]
    """Problems on which the op has no meaning."""
    state_ignores: tuple[str, ...]
    """Inputs on which the final state does not depend."""
    grouped: tuple[str, ...]
    """Inputs whose heads neighbours may share: G of them in the annotations of what takes that."""

    def __call__(self, **inputs: Tensor | None) -> tuple[Tensor, ...]:
        """Run the reference, shared heads copied; the outputs always come as a tuple."""
        return outputs(self.reference(**self._copied(inputs)))

    def inputs(
        self, dims: Mapping[str, int], seed: int = 0, *, extreme: bool = False
    ) -> dict[str, Tensor]:
        """Float64 inputs that obey the input laws; every dtype is cast down from these."""
        self.check_dims(dims)
        rng = torch.Generator().manual_seed(seed)
        return {
            name: self.draw.get(name, normal)(
                tuple(size(axis, dims) for axis in self.axes_of(name, dims)), rng, extreme=extreme
            )
            for name in self.inputs_axes
        }

    def check_dims(self, dims: Mapping[str, int]) -> None:
        """ValueError unless ``dims`` gives every axis of the op a size of at least one."""
        wanted = set(self.axes())
        if self.grouped and "G" in dims:
            wanted.add("G")
        if set(dims) != wanted or min(dims.values(), default=1) < 1:
            given = "-".join(f"{axis}{size}" for axis, size in dims.items())
            want = "-".join(f"{axis}.." for axis in self.axes())
            raise ValueError(
                f"sizes {given or 'none'} for {self.name}, want {want}, each at least 1"
            )

    def axes_of(self, name: str, dims: Mapping[str, int]) -> tuple[str, ...]:
        """The axes of an input, with G for H where ``dims`` has groups that share it."""
        shared = "G" in dims and name in self.grouped
        return tuple("G" if shared and axis == "H" else axis for axis in self.inputs_axes[name])

    def _copied(self, inputs: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
        """Each shared head once for every head that shares it."""
        whole = max((self._heads(name, x) for name, x in inputs.items()), default=0)
        copied = dict(inputs)
        for name in self.grouped:
            x = inputs[name]
            if x is not None and self._heads(name, x) < whole:
                along = self.inputs_axes[name].index("H")
                copied[name] = x.repeat_interleave(whole // x.shape[along], dim=along)
        return copied

    def _heads(self, name: str, x: Tensor | None) -> int:
        axes = self.inputs_axes[name]
        return x.shape[axes.index("H")] if x is not None and "H" in axes else 0

    def axes(self) -> list[str]:
        """The axes of the inputs, in order of appearance."""
        named = (axis for axes in self.inputs_axes.values() for axis in axes)
        return list(dict.fromkeys(axis.partition("+")[0] for axis in named))

    def compulsory_bytes(self, dims: Mapping[str, int], dtype: torch.dtype) -> int:
        """Bytes of every input read once and every output written once."""
        axes = [*(self.axes_of(name, dims) for name in self.inputs_axes), *self.output_axes]
        return sum(math.prod(size(axis, dims) for axis in each) for each in axes) * dtype.itemsize

    def reaches(self, name: str, output: int) -> bool:
        """Whether an output depends on an input; only a final state may ignore one."""
        return output == 0 or name not in self.state_ignores

    def final_state(self, results: Sequence[Tensor]) -> Tensor:
        """The state after the last step: the last output, or the last step of the only one."""
        return results[-1] if len(results) > 1 else results[0][:, -1]


def op(
    *,
    linear_in: tuple[str, ...] = (),
    state: str | None = None,
    packs: bool = False,
    sizes: Sequence[Mapping[str, int]],
    refused: Sequence[Mapping[str, int]] = (),
    state_ignores: tuple[str, ...] = (),
    grouped: tuple[str, ...] = (),
    **draw: Draw,
) -> Callable[[Callable[..., Any]], Op]:
    """Read the exam off the decorated reference: its inputs, their axes, and which may be absent."""

    def build(reference: Callable[..., Any]) -> Op:
        signature = inspect.signature(reference)
        return Op(
            name=reference.__name__,
            reference=reference,
            inputs_axes={
                name: _axes(parameter.annotation)
                for name, parameter in signature.parameters.items()
            },
            output_axes=_output_axes(signature.return_annotation),
            optional=frozenset(
                name
                for name, parameter in signature.parameters.items()
                if parameter.default is None
            ),
            draw=draw,
            linear_in=linear_in,
            state=state,
            packs=packs,
            sizes=tuple(sizes),
            refused=tuple(refused),
            state_ignores=state_ignores,
            grouped=grouped,
        )

    return build


def size(axis: str, dims: Mapping[str, int]) -> int:
    """The size of an axis; ``V+1`` is one longer than V."""
    alone, _, more = axis.partition("+")
    return dims[alone] + int(more or 0)


def find(name: str) -> Op:
    """The op called ``name``: the object of that name in its file below ``ops/``."""
    if name not in files():
        raise ValueError(f"no op is called {name!r}; there are {', '.join(names())}")
    below = files()[name].relative_to(OPS).with_suffix("").parts
    return getattr(importlib.import_module(".".join(("correctness.ops", *below))), name)


def names() -> list[str]:
    """The names of all ops."""
    return sorted(files())


@functools.cache
def files() -> Mapping[str, Path]:
    """The file of every op, by the op's name."""
    return {file.stem: file for file in sorted(OPS.rglob("[a-z]*.py"))}


def outputs(result: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One tensor or several, as a tuple."""
    return (result,) if isinstance(result, Tensor) else tuple(result)


def _axes(annotation: Any) -> tuple[str, ...]:
    if isinstance(annotation, types.UnionType) or get_origin(annotation) is types.UnionType:
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    return tuple(annotation.dim_str.split())


def _output_axes(annotation: Any) -> tuple[tuple[str, ...], ...]:
    several = get_args(annotation) if get_origin(annotation) is tuple else (annotation,)
    return tuple(_axes(each) for each in several)


# the input laws: what the ops below may be given


def normal(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Standard normal numbers, the default; extreme ones are ten times as large."""
    return torch.randn(shape, generator=rng, dtype=torch.float64) * (10.0 if extreme else 1.0)


def decay(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """A decay in (0, 1), crowded towards 1 where a recurrence has to remember.

    Extreme: a third each of almost forgotten, almost kept, and kept.
    """
    uniform = torch.rand(shape, generator=rng, dtype=torch.float64)
    if extreme:
        choice = torch.randint(3, shape, generator=rng)
        return torch.tensor([1e-6, 1 - 1e-6, 1.0], dtype=torch.float64)[choice]
    return uniform**0.1


def log_decay(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """The natural logarithm of a decay, never positive: log-sigmoid of a normal number plus 3.

    Extreme: a third each of 0, -20 and -0.001, so that a sum over a chunk passes -1000.
    """
    if extreme:
        choice = torch.randint(3, shape, generator=rng)
        return torch.tensor([0.0, -20.0, -1e-3], dtype=torch.float64)[choice]
    return torch.nn.functional.logsigmoid(normal(shape, rng, extreme=False) + 3)


def unit(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Vectors of length one along the last axis; extreme: nearly the same one at every step."""
    draw = normal(shape, rng, extreme=False)
    if extreme:
        draw = draw.mean(dim=1, keepdim=True) * shape[1] ** 0.5 + 0.1 * draw
    return torch.nn.functional.normalize(draw, dim=-1)


def rate(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """A writing strength in (0, 1); extreme: 0, 1 and 2, at which a step is a reflection."""
    if extreme:
        choice = torch.randint(3, shape, generator=rng)
        return torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)[choice]
    return torch.sigmoid(normal(shape, rng, extreme=False))


def positive_step(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """A step size above 0, log-uniform in [0.001, 0.1] as Mamba-2 starts; extreme: up to 10."""
    low, high = (1e-4, 10.0) if extreme else (1e-3, 1e-1)
    uniform = torch.rand(shape, generator=rng, dtype=torch.float64)
    return low * (high / low) ** uniform


def negative_rate(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """A rate of decay below 0, uniform in [-16, -1] as Mamba-2 starts."""
    return -1 - 15 * torch.rand(shape, generator=rng, dtype=torch.float64)


def contraction(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Square matrices whose long products neither explode nor vanish at once.

    Normal entries of variance 0.9 / N; extreme: rotations, whose products never fade.
    """
    draw = torch.randn(shape, generator=rng, dtype=torch.float64)
    return torch.linalg.qr(draw)[0] if extreme else draw * (0.9 / shape[-1]) ** 0.5


def angle(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Rising angles in [0, pi/2), evenly spaced; extreme: the first half all 0, then the rest."""
    steps = torch.arange(shape[0], dtype=torch.float64) / shape[0]
    if extreme:
        steps = (steps - 0.5).clamp_min(0.0) * 2 * (1 - 1 / shape[0])
    return steps * (math.pi / 2)


# the problems of the contract: one step, a prime below a tile, a tile, a tile and a step, and a
# prime of several tiles; keys and values of different and odd width

CHANNELS = (
    {"B": 1, "T": 1, "D": 1},
    {"B": 2, "T": 7, "D": 3},
    {"B": 1, "T": 64, "D": 16},
    {"B": 1, "T": 65, "D": 5},
    {"B": 2, "T": 193, "D": 17},
)
MATRICES = (
    {"B": 1, "T": 1, "N": 1},
    {"B": 2, "T": 7, "N": 3},
    {"B": 1, "T": 64, "N": 8},
    {"B": 1, "T": 65, "N": 5},
    {"B": 2, "T": 131, "N": 4},
)
TRANSITIONS = (
    {"B": 1, "T": 1, "N": 1, "V": 1},
    {"B": 2, "T": 7, "N": 4, "V": 3},
    {"B": 1, "T": 64, "N": 16, "V": 8},
    {"B": 1, "T": 65, "N": 9, "V": 1},
    {"B": 2, "T": 131, "N": 4, "V": 2},
)
"""States are squares, so that two factors of equal blocks fit."""
HEADS = (
    {"B": 1, "T": 1, "H": 1, "K": 16, "V": 16},
    {"B": 2, "T": 7, "H": 2, "K": 20, "V": 12},
    {"B": 1, "T": 64, "H": 1, "K": 32, "V": 32},
    {"B": 1, "T": 65, "H": 2, "K": 16, "V": 24},
    {"B": 1, "T": 131, "H": 1, "K": 24, "V": 16},
)
WIDE_HEADS = (*HEADS[:4], {**HEADS[4], "V": 40})
"""Values of more than one tile of 32."""
GROUPS = (
    {"B": 1, "T": 1, "H": 1, "P": 16, "G": 1, "N": 16},
    {"B": 2, "T": 7, "H": 4, "P": 12, "G": 2, "N": 20},
    {"B": 1, "T": 64, "H": 1, "P": 32, "G": 1, "N": 32},
    {"B": 1, "T": 65, "H": 2, "P": 24, "G": 1, "N": 16},
    {"B": 1, "T": 131, "H": 2, "P": 16, "G": 2, "N": 24},
)
UNEVEN_GROUPS = ({"B": 1, "T": 7, "H": 3, "P": 16, "G": 2, "N": 16},)
