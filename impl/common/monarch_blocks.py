"""Monarch blocks: rotations or bounded ones out of free numbers, and the matrix that two sets make.

The N = G^2 coordinates form a grid; ``rows`` holds one G x G block for every row of it, ``columns``
one for every column.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def monarch_matrix(
    rows: Float[Tensor, "*batch G G G"], columns: Float[Tensor, "*batch G G G"]
) -> Float[Tensor, "*batch N N"]:
    """``A[(i', i), (g, j)] = columns[i, i', g] rows[g, i, j]``: rows act first."""
    outer = columns.transpose(-3, -2)[..., None] * rows.transpose(-3, -2)[..., None, :, :, :]
    return outer.flatten(-2).flatten(-3, -2)


def rotation_blocks(skew: Float[Tensor, "*batch M"], size: int) -> Float[Tensor, "*batch G G"]:
    """Rotations ``C^2``, ``C = (I + S)^-1 (I - S)``, with ``skew`` above the diagonal of the skew S.

    Squared, because the Cayley transform turns by less than half a turn at any finite S.
    """
    i, j = torch.triu_indices(size, size, 1, device=skew.device)
    place = torch.zeros(len(i), size * size, dtype=skew.dtype, device=skew.device)
    place[torch.arange(len(i), device=skew.device), i * size + j] = 1.0
    upper = (skew @ place).unflatten(-1, (size, size))
    s = upper - upper.mT
    one = torch.eye(size, dtype=skew.dtype, device=skew.device)
    c = torch.linalg.solve(one + s, one - s)
    return c @ c


def bounded_blocks(numbers: Float[Tensor, "*batch M"], size: int) -> Float[Tensor, "*batch G G"]:
    """Any blocks, each divided by the length of its longest column.

    Orthogonal ones are reached exactly; of others a product may still grow.
    """
    block = numbers.unflatten(-1, (size, size))
    columns = torch.linalg.vector_norm(block, dim=-2, keepdim=True)
    return block / columns.amax(dim=-1, keepdim=True).clamp_min(1e-6)
