"""Mixing: what a trainable sequence mixer offers beyond ``nn.Module``, and nothing to inherit.

A factory under ``@mixer`` takes ``(width, *, heads=1, ...knobs)`` and returns one of these. The mixer
laws in ``correctness/mixer_laws.py`` hold it to each line. One with a schedule of its own may offer
``anneal(share)``, which is told before each step what share of the training is done, and 1 at its end.
"""

from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor


class Mixer(Protocol):
    """The parallel form, the step form, and the state that the step form carries."""

    def __call__(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Mix a whole sequence, causally, at any length."""
        ...

    def step(self, x: Float[Tensor, "B D"], state: Any) -> tuple[Float[Tensor, "B D"], Any]:
        """Mix one more token; the same numbers as the parallel form."""
        ...

    def initial(
        self, batch: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Tensor | tuple[Tensor, ...]:
        """The state before the first token, batch first."""
        ...

    def state_size(self, length: int) -> int:
        """Elements of one sequence's state after ``length`` tokens; a complex number is two."""
        ...
