"""Damped oscillators that push one another through few channels, under the bilinear rule."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import op
from correctness.ops.transitions.cayley_transition import cayley
from correctness.ops.transitions.dense_transition import walk


def frequency(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Radians a step, from 1/2 to a quarter of a turn; extreme: up to nearly half a turn."""
    draw = torch.rand(shape, generator=rng, dtype=torch.float64)
    return 0.5 + (20.0 if extreme else 1.0) * draw


def damping(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Ratios of 0.3 to 1, so that a velocity loses at least 0.3 of itself a step; extreme: 4."""
    draw = torch.rand(shape, generator=rng, dtype=torch.float64)
    return 0.3 + (3.7 if extreme else 0.7) * draw


def coupling(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Columns of length 1/2 at most over all, so that what is fed back is less than what is lost."""
    draw = torch.randn(shape, generator=rng, dtype=torch.float64)
    return 0.5 * draw / torch.linalg.matrix_norm(draw)


def motion(
    w: Float[Tensor, " D"],
    z: Float[Tensor, " D"],
    p: Float[Tensor, "D R"],
    q: Float[Tensor, "D R"],
) -> Tensor:
    """``A = [[0, I], [-w^2, -2 z w + p q^T]]``: positions, then velocities."""
    still, one = torch.zeros_like(w).diag(), torch.ones_like(w).diag()
    slowed = p @ q.mT - (2 * z * w).diag()
    return torch.cat([torch.cat([still, one], 1), torch.cat([-(w * w).diag(), slowed], 1)])


@op(
    w=frequency,
    z=damping,
    p=coupling,
    q=coupling,
    linear_in=("b", "h0"),
    state="h0",
    sizes=(
        {"B": 1, "T": 1, "D": 1, "R": 1, "N": 2},
        {"B": 2, "T": 7, "D": 3, "R": 2, "N": 6},
        {"B": 1, "T": 64, "D": 8, "R": 2, "N": 16},
        {"B": 1, "T": 65, "D": 5, "R": 3, "N": 10},
        {"B": 2, "T": 131, "D": 4, "R": 1, "N": 8},
    ),
    refused=({"B": 1, "T": 7, "D": 3, "R": 2, "N": 5},),
)
def coupled_oscillators(
    w: Float[Tensor, " D"],
    z: Float[Tensor, " D"],
    p: Float[Tensor, "D R"],
    q: Float[Tensor, "D R"],
    b: Float[Tensor, "B T N"],
    h0: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B T N"]:
    """``h[t] = (I - A/2)^-1 (I + A/2) h[t-1] + b[t]``, ``h`` the D positions, then the velocities.

    ``A`` is ``x'' + 2 z w x' + w^2 x = p q^T x'``.
    """
    m = cayley(-motion(w, z, p, q) / 2)
    every = m.expand(*b.shape[:2], *m.shape)
    first = None if h0 is None else h0[..., None]
    return walk(every, b[..., None], first)[..., 0]
