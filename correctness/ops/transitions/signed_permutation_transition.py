"""A recurrence whose transition is a signed permutation, named by its window."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op
from correctness.ops.transitions.dense_transition import walk


def windows(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """The numbers 1 to N in any order with any signs; extreme: mostly one and the same at every step."""
    places = torch.rand(shape, generator=rng).argsort(dim=-1) + 1
    drawn = (places * (1 - 2 * torch.randint(2, shape, generator=rng))).double()
    if extreme:
        often = torch.rand(shape[:-1], generator=rng)[..., None] < 0.9
        return torch.where(often, drawn[:, :1], drawn)
    return drawn


@op(w=windows, linear_in=("b", "h0"), state="h0", sizes=TRANSITIONS)
def signed_permutation_transition(
    w: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]`` with ``A[t][|w[t][j]| - 1, j] = sign(w[t][j])``, else 0.

    ``w``, being discrete, has a gradient of zero.
    """
    rows = torch.arange(1, w.shape[-1] + 1)[:, None]
    columns = w.round()[..., None, :]
    return walk(torch.where(rows == columns.abs(), columns.sign(), 0.0 * columns), b, h0)
