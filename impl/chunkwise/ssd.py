"""SSD in blocks: the semiseparable matrix of Mamba-2, dense on its diagonal and of rank N below it.

With G[i, j] = dt[j+1] a + ... + dt[i] a, the sum over the steps between, inside each chunk

    o[i] = sum_j<=i  exp(G[i, j]) (c[i] . b[j]) dt[j] x[j]  +  exp(G[i, start]) S^T c[i]
    S'   = exp(G[end, start]) S  +  sum_j  exp(G[end, j]) dt[j] b[j] x[j]^T

where S is the state before the chunk. T C (N + P) + 2 T N P multiply-adds a head, nearly all in
matrix products, and T / C dependent steps; a scan does 2 T N P in T steps. The heads of a group
share c . b, and b and c are never repeated. It pays with C^2 decays a head and a chunk, written
out, and with every state on its way to the outputs.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from impl.common.axes import axis_sizes
from impl.common.chunks import cut, join
from impl.common.decays import segment_sums, states_between
from impl.registry import implements


@implements(
    "ssd",
    source="T. Dao and A. Gu, ICML 2024, arXiv:2405.21060",
    trick="semiseparable-block-decomposition",
    knobs={"chunk": (16, 64, 128)},
)
def ssd(
    x: Float[Tensor, "B T H P"],
    dt: Float[Tensor, "B T H"],
    a: Float[Tensor, " H"],
    b: Float[Tensor, "B T G N"],
    c: Float[Tensor, "B T G N"],
    h0: Float[Tensor, "B H N P"] | None = None,
    *,
    chunk: int = 64,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H N P"]]:
    """``S[t] = exp(dt a) S[t-1] + dt b x^T``, ``o = S^T c``; fp32 inside, fp64 for fp64 inputs."""
    size = axis_sizes(ssd, x, dt, a, b, c, h0)
    groups = size["G"]
    by_group = (groups, size["H"] // groups)
    b, c, dt, inputs = (cut(each, chunk) for each in (b, c, dt, x))
    decay = (dt * a.to(dt.dtype)[:, None, None]).unflatten(1, by_group)
    decay = decay.movedim(2, 3)  # [B, G, Z, R, C]
    write = (dt[..., None] * inputs).unflatten(1, by_group).movedim(2, -2)  # [B, G, Z, C, R, P]

    gaps = segment_sums(decay)
    until = gaps[..., -1, :].exp().mT[..., None]  # from a step to the end of its chunk
    since = decay.cumsum(-1).exp().mT[..., None]  # from the start of the chunk to a step
    # the heads of a group stand side by side: a state is [N, R P]
    fresh = b.mT @ (until * write).flatten(-2)
    kept = since[..., -1, :, :].expand_as(write[..., 0, :, :]).flatten(-2)
    before, last = states_between(fresh, kept.unsqueeze(-2), _side_by_side(h0, fresh))

    diagonal = ((c @ b.mT).unsqueeze(3) * gaps.exp()) @ write.transpose(3, 4)
    o = diagonal.transpose(3, 4) + since * (c @ before).unflatten(-1, write.shape[-2:])
    o = join(o.movedim(-2, 2).flatten(1, 2), size["T"])
    last = last.unflatten(-1, write.shape[-2:]).transpose(2, 3).flatten(1, 2)
    return o.to(x.dtype), last.to(x.dtype)


def _side_by_side(
    h0: Float[Tensor, "B H N P"] | None, fresh: Float[Tensor, "B G Z N RP"]
) -> Float[Tensor, "B G N RP"]:
    if h0 is None:
        return torch.zeros_like(fresh[:, :, 0])
    return h0.to(fresh.dtype).unflatten(1, (fresh.shape[1], -1)).transpose(2, 3).flatten(-2)
