"""Tasks: what a sequence mixer must learn within a budget of training tokens.

A file holds one kind of task and its settings. A setting is a ``Task``: a generator, the strategies
that score without solving it, a small model, a budget, and the mixers that must pass and must fail.
Training draws fresh sequences and never repeats one; scoring draws longer ones from another stream.
"""

import difflib
import functools
import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences and what is asked about them."""

    tokens: "Int[Tensor, 'B T'] | Float[Tensor, 'B T channels']"
    """Of a signal: samples, and what else is told beside them."""
    labels: "Int[Tensor, 'B T'] | Float[Tensor, 'B T']"
    """Class, or value of a signal, to predict at each position; 0 where nothing is asked."""
    learned: "Bool[Tensor, 'B T']"
    """Positions that the loss counts."""
    scored: "Bool[Tensor, 'B T']"
    """Positions that the score counts."""
    known: "Float[Tensor, 'B T'] | None" = None
    """Loss of the exact predictor at each position, in nat, where there is one."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One setting of a task, with everything that a score depends on but the mixer."""

    name: str
    """``mqar-T32``: file name and settings; the ``sizes`` of a measurement."""
    says: str
    """What is learned and what is scored, in one sentence."""
    draw: "Callable[[torch.Generator, int, int], Batch]"
    """``draw(generator, count, length)``: ``count`` sequences of ``length`` tokens."""
    draws: "Mapping[str, Callable[[torch.Generator, int, int], Batch]]" = field(
        default_factory=dict
    )
    """By split, where not all splits draw alike: of finite text each has its own."""
    strategies: "Mapping[str, Callable[[Batch, torch.Generator], Tensor]]"
    """Answers that need no learned memory, one class a position; the best of them is the floor."""
    floor: float
    """Expected score of the best strategy."""
    metric: str = "accuracy"
    """``accuracy``, or what is better when less: ``excess_loss``, ``perplexity``, ``nmse`` of signals."""
    best: float = 1.0
    """Score of a model that has solved it."""
    vocabulary: int
    """Different tokens, or channels of a signal."""
    classes: int
    """Different labels; 1 of a signal."""
    length: int
    """Tokens of a training sequence."""
    test_length: int
    """Tokens of a scored sequence."""
    lengths: tuple[int, ...] = ()
    """Further lengths at which the score is told beside that of ``test_length``."""
    curriculum: tuple[int, ...] = ()
    """Shorter lengths that are trained first, each for an equal part of the budget's first half."""
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)
    """Learning rates that a mixer is offered, the same for every mixer."""
    state: tuple[int, int] | None = None
    """Keys and values of the state, for mixers that let the task choose them."""
    width: int
    layers: int
    parameters: int
    """Wanted outside the embedding and the head: the MLP is cut so that every mixer's model has them."""
    batch: int
    tokens: int
    """Training budget."""
    optimizer: str = "adamw"
    """``adamw``, clipped, or ``sgd``: plain and unclipped, so that the size of a gradient shows."""
    must_pass: tuple[str, ...] = ()
    """Mixers whose failure says that the task, not the idea, is at fault."""
    must_fail: tuple[str, ...] = ()
    """Mixers whose success says the same."""

    def stream(self, split: str, seed: int) -> "torch.Generator":
        """The generator of one purpose: ``train``, ``check``, ``test``, or weights of the ``model``."""
        import torch

        digest = hashlib.sha256(f"{self.name}/{split}/{seed}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def draw_of(self, split: str) -> "Callable[[torch.Generator, int, int], Batch]":
        """The generator of sequences of one split."""
        return self.draws.get(split, self.draw)

    @property
    def signal(self) -> bool:
        """Whether inputs and labels are real numbers."""
        return self.metric == "nmse"

    def normalised(self, score: float) -> float:
        """0 at the floor, 1 at the best; below 0 for a mixer worse than not learning."""
        return (score - self.floor) / (self.best - self.floor)


def sized_task(
    *,
    sizes: Mapping[str, int],
    draw: Callable[..., Batch],
    strategies: "Mapping[str, Callable[..., Tensor]]",
    **fields: object,
) -> Task:
    """The task whose generator and strategies take ``sizes`` as keywords, all of them."""
    return Task(
        draw=functools.partial(draw, **sizes),
        strategies={name: functools.partial(way, **sizes) for name, way in strategies.items()},
        **fields,  # pyright: ignore[reportArgumentType]
    )


@functools.cache
def settings() -> Mapping[str, Task]:
    """Every task of this folder by name. Imports no torch."""
    found: dict[str, Task] = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.stem == "__init__":
            continue
        for task in importlib.import_module(f"{__name__}.{file.stem}").SETTINGS:
            if not task.name.startswith(file.stem):
                raise ValueError(f"{file}: task {task.name!r}, want a name that starts {file.stem}")
            found[task.name] = task
    return found


def find(name: str) -> Task:
    """The task called ``name``. ValueError, with near names, when there is none."""
    if name not in settings():
        near = difflib.get_close_matches(name, settings(), n=3, cutoff=0.3)
        raise ValueError(f"no task is called {name!r}; near names: {', '.join(near or settings())}")
    return settings()[name]
