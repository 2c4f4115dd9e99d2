"""A delta rule whose state is routed, by a matrix with one entry a column, once a key is erased."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import TRANSITIONS, op, rate, unit
from correctness.ops.transitions.dense_transition import walk
from correctness.ops.transitions.householder_transition import householder


def routes(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """One entry a column, in any row, of a size that makes a row's length 1; extreme: permutations."""
    if extreme:
        rows = torch.rand(shape[:-1], generator=rng).argsort(dim=-1)
    else:
        rows = torch.randint(shape[-1], shape[:-1], generator=rng)
    p = torch.nn.functional.one_hot(rows, shape[-1]).mT.double()
    return p / p.sum(-1, keepdim=True).clamp_min(1.0).sqrt()


@op(p=routes, k=unit, beta=rate, linear_in=("v", "h0"), state="h0", sizes=TRANSITIONS)
def routed_delta_transition(
    p: Float[Tensor, "B T N N"],
    k: Float[Tensor, "B T N"],
    beta: Float[Tensor, "B T"],
    v: Float[Tensor, "B T V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t] = P[t] (I - beta k k^T) h[t-1] + beta k v^T``: the write is not routed."""
    write = torch.einsum("bt,btn,btv->btnv", beta, k, v)
    return walk(torch.einsum("btij,btjn->btin", p, householder(k, beta)), write, h0)
