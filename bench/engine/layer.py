"""Layer: a mixer as a contestant, tokens in and as many tokens out, with its weights.

Its reference is its own step form, one token after the other, in float64: what the mixer laws hold
it against, here at the sizes that are measured. Every mixer has weights of its own and so a truth of
its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from correctness.case import Figures
    from impl.registry import Plugin

AXES = ("B", "T", "D")
"""Batch, tokens and width."""


@dataclass(frozen=True)
class Layer:
    """Mixer x sizes x dtype x device; ``plugin.id`` carries the knobs as measurements spell them."""

    plugin: "Plugin"
    dims: Mapping[str, int]
    dtype: "torch.dtype"
    device: str = "cpu"
    knobs: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    """Of the weights and, one more, of the tokens."""

    def refusal(self) -> None:
        """A mixer declares nothing that it does not accept: it raises."""

    def module(self) -> Any:
        """The mixer, with weights rounded to the dtype."""
        import torch

        make = self.plugin.run
        assert make is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = make(self.dims["D"], **self.knobs)
        return made.to(self.dtype).to(self.device).requires_grad_(requires_grad=False)

    def inputs(self) -> "dict[str, Tensor]":
        """Normal tokens in the dtype under test, on the device. ValueError for other axes."""
        import torch

        check(self.dims)
        shape = tuple(self.dims[axis] for axis in AXES)
        rng = torch.Generator().manual_seed(1 + self.seed)
        x = torch.randn(shape, generator=rng, dtype=torch.float64)
        return {"x": x.to(self.dtype).to(self.device)}

    def run(self, inputs: "Mapping[str, Tensor]") -> "tuple[Tensor, ...]":
        """The output of the parallel form."""
        return (self.module()(inputs["x"]),)

    def stepped(self, inputs: "Mapping[str, Tensor]", dtype: "torch.dtype") -> "tuple[Tensor, ...]":
        """The output of the step form with the same weights, computed in ``dtype``."""
        import torch

        mixer, x = self.module().to(dtype), inputs["x"].to(dtype)
        state, steps = mixer.initial(self.dims["B"], self.device, dtype), []
        for t in range(self.dims["T"]):
            y, state = mixer.step(x[:, t], state)
            steps.append(y)
        return (torch.stack(steps, dim=1),)

    def own_errors(self) -> "Mapping[Any, Figures]":
        """The step form's worst figures in the dtype over further draws of weights and tokens."""
        import torch

        from correctness.case import DRAWS, worst_figures

        def answers(each: Layer, dtype: torch.dtype) -> "dict[int, Tensor]":
            return dict(enumerate(each.stepped(each.inputs(), dtype)))

        draws = [replace(self, seed=self.seed + 1 + i) for i in range(DRAWS)]
        return worst_figures(
            (answers(each, self.dtype), answers(each, torch.float64)) for each in draws
        )

    def compulsory_bytes(self) -> int:
        """Bytes of the tokens and the weights read once and of the output written once."""
        tokens = 2 * self.dims["B"] * self.dims["T"] * self.dims["D"]
        weights = sum(each.numel() for each in self.module().parameters())
        return (tokens + weights) * self.dtype.itemsize


def check(dims: Mapping[str, int]) -> None:
    """ValueError unless the axes are those of a layer, each of at least 1."""
    if set(dims) != set(AXES) or min(dims.values()) < 1:
        given = "-".join(f"{axis}{size}" for axis, size in dims.items())
        raise ValueError(f"sizes {given} for a layer, want B..-T..-D.., each at least 1")
