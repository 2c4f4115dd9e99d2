"""Damped oscillators under the bilinear rule, with a frequency and a damping of their own each step."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import op
from correctness.ops.transitions.cayley_transition import cayley
from correctness.ops.transitions.dense_transition import walk


def frequency(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Radians a step, from slow to about a quarter of a turn.

    Extreme: from nearly still to nearly half a turn, each channel keeping its own, for without
    damping a frequency that changes pumps energy into the oscillator.
    """
    draw = torch.rand(shape, generator=rng, dtype=torch.float64)
    if extreme:
        return (10.0 ** (5 * draw - 3))[:, :1].expand(shape).clone()
    return 0.1 + 1.4 * draw


def damping(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Ratios from well below critical damping to critical; extreme: none at all, or four times it."""
    draw = torch.rand(shape, generator=rng, dtype=torch.float64)
    if extreme:
        return (4.0 * (draw < 0.5).double())[:, :1].expand(shape).clone()
    return 0.2 + 0.8 * draw


def steps(w: Float[Tensor, "*batch D"], z: Float[Tensor, "*batch D"]) -> Tensor:
    """``(I - A/2)^-1 (I + A/2)`` of ``A = [[0, I], [-w^2, -2 z w]]``: all pivots are at least 1."""
    zero, one = torch.zeros_like(w), torch.ones_like(w)
    rows = torch.cat(
        [
            torch.cat([torch.diag_embed(zero), torch.diag_embed(one)], dim=-1),
            torch.cat([torch.diag_embed(-w * w), torch.diag_embed(-2 * z * w)], dim=-1),
        ],
        dim=-2,
    )
    return cayley(-rows / 2)


@op(
    w=frequency,
    z=damping,
    linear_in=("b", "h0"),
    state="h0",
    sizes=(
        {"B": 1, "T": 1, "D": 1, "N": 2},
        {"B": 2, "T": 7, "D": 3, "N": 6},
        {"B": 1, "T": 64, "D": 8, "N": 16},
        {"B": 1, "T": 65, "D": 5, "N": 10},
        {"B": 2, "T": 131, "D": 4, "N": 8},
    ),
    refused=({"B": 1, "T": 7, "D": 3, "N": 5},),
)
def oscillator_bank(
    w: Float[Tensor, "B T D"],
    z: Float[Tensor, "B T D"],
    b: Float[Tensor, "B T N"],
    h0: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B T N"]:
    """``h[t] = M[t] h[t-1] + b[t]`` with ``h`` the D positions, then the D velocities.

    ``M[t]`` takes one step of the bilinear rule through ``x'' + 2 z w x' + w^2 x = 0``.
    """
    first = None if h0 is None else h0[..., None]
    return walk(steps(w, z), b[..., None], first)[..., 0]
