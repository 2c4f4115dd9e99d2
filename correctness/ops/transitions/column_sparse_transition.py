"""A recurrence whose transition has one entry a column, wherever the column's target says."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op
from correctness.ops.transitions.dense_transition import walk


def targets(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Rows 0 to N - 1 as whole numbers, any number of them alike; extreme: one row for all or none."""
    if extreme:
        together = torch.randint(shape[-1], (*shape[:-1], 1), generator=rng)
        apart = torch.rand(shape, generator=rng).argsort(dim=-1)
        return torch.where(
            torch.rand(shape[:-1], generator=rng)[..., None] < 0.1, together, apart
        ).double()
    return torch.randint(shape[-1], shape, generator=rng).double()


def scales(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Scales of either sign, crowded towards modulus 1; extreme: the modulus is 1 or nearly 0."""
    sign = 1.0 - 2.0 * torch.randint(2, shape, generator=rng)
    uniform = torch.rand(shape, generator=rng, dtype=torch.float64)
    return sign * torch.where(uniform < 0.1, 1e-3, 1.0) if extreme else sign * uniform**0.1


def one_entry_a_column(
    p: Float[Tensor, "B T N"], d: Float[Tensor, "B T N"]
) -> Float[Tensor, "B T N N"]:
    """``A[p[j], j] = d[j]`` and zeros elsewhere; ``p``, being discrete, has a gradient of zero."""
    rows = torch.arange(p.shape[-1])[:, None]
    whole = p.round()[..., None, :]
    return torch.where(rows == whole, d[..., None, :], 0.0 * whole)


@op(p=targets, d=scales, linear_in=("b", "h0"), state="h0", sizes=TRANSITIONS)
def column_sparse_transition(
    p: Float[Tensor, "B T N"],
    d: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = A[t] h[t-1] + b[t]`` with ``A[t][p[t][j], j] = d[t][j]``, one entry a column."""
    return walk(one_entry_a_column(p, d), b, h0)
