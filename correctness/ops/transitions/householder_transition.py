"""A recurrence whose transition is a product of Householder matrices, one behind another in a token."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op, rate, unit
from correctness.ops.transitions.dense_transition import walk


def householder(k: Float[Tensor, "B T N"], beta: Float[Tensor, "B T"]) -> Float[Tensor, "B T N N"]:
    """``I - beta k k^T``."""
    eye = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
    return eye - beta[..., None, None] * torch.einsum("bti,btj->btij", k, k)


def product_and_write(
    k: Float[Tensor, "B T R N"], beta: Float[Tensor, "B T R"], v: Float[Tensor, "B T R V"]
) -> tuple[Float[Tensor, "B T N N"], Float[Tensor, "B T N V"]]:
    """``H[R] .. H[1]``, and ``sum over j of H[R] .. H[j+1] beta[j] k[j] v[j]^T``."""
    product = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device).expand(*k.shape[:2], -1, -1)
    write = torch.zeros(*k.shape[:2], k.shape[-1], v.shape[-1], dtype=k.dtype, device=k.device)
    for j in range(k.shape[2]):
        step = householder(k[:, :, j], beta[:, :, j])
        correction = torch.einsum("bt,btn,btv->btnv", beta[:, :, j], k[:, :, j], v[:, :, j])
        product, write = step @ product, step @ write + correction
    return product, write


@op(
    k=unit,
    beta=rate,
    linear_in=("v", "h0"),
    state="h0",
    sizes=[{**dims, "R": r} for dims, r in zip(TRANSITIONS, (1, 2, 4, 3, 1), strict=True)],
)
def householder_transition(
    k: Float[Tensor, "B T R N"],
    beta: Float[Tensor, "B T R"],
    v: Float[Tensor, "B T R V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """R steps ``h <- (I - beta[j] k[j] k[j]^T) h + beta[j] k[j] v[j]^T`` a token, seen after the last.

    ``k`` has length one; every token's transition is ``H[R] .. H[1]``.
    """
    return walk(*product_and_write(k, beta, v), h0)
