"""A recurrence whose transition is a product of Householder matrices behind which pairs rotate."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import op, rate, unit
from correctness.ops.transitions.dense_transition import walk
from correctness.ops.transitions.householder_transition import product_and_write

SIZES = (
    {"B": 1, "T": 1, "R": 1, "N": 2, "G": 1, "V": 1},
    {"B": 2, "T": 7, "R": 2, "N": 4, "G": 2, "V": 3},
    {"B": 1, "T": 64, "R": 2, "N": 16, "G": 8, "V": 8},
    {"B": 1, "T": 65, "R": 3, "N": 6, "G": 3, "V": 1},
    {"B": 2, "T": 131, "R": 1, "N": 4, "G": 2, "V": 2},
)


def turns(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Angles of either sign, up to a quarter turn; extreme: any."""
    uniform = torch.rand(shape, generator=rng, dtype=torch.float64)
    return (2 * uniform - 1) * math.pi * (1.0 if extreme else 0.5)


def radii(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """In (0, 1), crowded towards 1; extreme: 1, at which nothing is damped."""
    return torch.rand(shape, generator=rng, dtype=torch.float64) ** (0.0 if extreme else 0.1)


def damped_rotation(
    omega: Float[Tensor, " G"], radius: Float[Tensor, " G"]
) -> Float[Tensor, "N N"]:
    """Coordinates g and g + G turned by ``omega[g]`` and scaled by ``radius[g]``."""
    groups = len(omega)
    rotation = torch.zeros(2 * groups, 2 * groups, dtype=omega.dtype, device=omega.device)
    for g in range(groups):
        cosine, sine = radius[g] * omega[g].cos(), radius[g] * omega[g].sin()
        rotation[g, g] = rotation[g + groups, g + groups] = cosine
        rotation[g, g + groups], rotation[g + groups, g] = -sine, sine
    return rotation


@op(
    omega=turns,
    radius=radii,
    k=unit,
    beta=rate,
    linear_in=("v", "h0"),
    state="h0",
    sizes=SIZES,
    refused=({"B": 1, "T": 3, "R": 1, "N": 5, "G": 2, "V": 1},),
)
def oscillatory_householder_transition(
    omega: Float[Tensor, " G"],
    radius: Float[Tensor, " G"],
    k: Float[Tensor, "B T R N"],
    beta: Float[Tensor, "B T R"],
    v: Float[Tensor, "B T R V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = Q H[R] .. H[1] h[t-1] + b[t]``: Q the damped rotation, b what a delta rule writes."""
    product, write = product_and_write(k, beta, v)
    return walk(torch.einsum("ij,btjn->btin", damped_rotation(omega, radius), product), write, h0)
