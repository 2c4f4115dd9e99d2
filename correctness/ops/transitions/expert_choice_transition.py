"""Several Monarch recurrences side by side, each of which lets some tokens pass it by."""

import torch
from jaxtyping import Float
from torch import Tensor

from correctness.op import op
from correctness.ops.transitions.dense_transition import walk
from correctness.ops.transitions.monarch_transition import block_diagonal, blocks, shuffle


def gates(shape: tuple[int, ...], rng: torch.Generator, *, extreme: bool) -> Tensor:
    """Half of them 1, the others 0 or between; extreme: almost never 1."""
    uniform = torch.rand(shape, generator=rng, dtype=torch.float64)
    if extreme:
        return (uniform < 0.1).double()
    return (2 * uniform).clamp_max(1.0) * (uniform > 0.2)


@op(
    l=blocks,
    r=blocks,
    m=gates,
    linear_in=("b", "h0"),
    state="h0",
    sizes=(
        {"B": 1, "T": 1, "H": 1, "N": 1, "G": 1, "P": 1},
        {"B": 2, "T": 7, "H": 2, "N": 4, "G": 2, "P": 3},
        {"B": 1, "T": 64, "H": 4, "N": 16, "G": 4, "P": 2},
        {"B": 1, "T": 65, "H": 3, "N": 9, "G": 3, "P": 1},
        {"B": 2, "T": 131, "H": 2, "N": 4, "G": 2, "P": 2},
    ),
    refused=({"B": 1, "T": 3, "H": 1, "N": 6, "G": 2, "P": 1},),
)
def expert_choice_transition(
    l: Float[Tensor, "B T H N G"],
    r: Float[Tensor, "B T H N G"],
    m: Float[Tensor, "B T H"],
    b: Float[Tensor, "B T H N P"],
    h0: Float[Tensor, "B H N P"] | None = None,
) -> Float[Tensor, "B T H N P"]:
    """``h[t] = m (P L P^T R h[t-1] + b[t]) + (1 - m) h[t-1]`` for every head by itself."""
    p = shuffle(r.shape[-1]).to(r)
    heads = []
    for i in range(m.shape[-1]):
        gate = m[:, :, i, None, None]
        a = p @ block_diagonal(l[:, :, i]) @ p.T @ block_diagonal(r[:, :, i])
        a = gate * a + (1 - gate) * torch.eye(a.shape[-1]).to(a)
        heads.append(walk(a, gate * b[:, :, i], None if h0 is None else h0[:, i]))
    return torch.stack(heads, dim=2)
