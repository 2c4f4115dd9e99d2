"""Column-sparse scan: composes transitions of one entry a column by their targets and scales.

A step A sends coordinate j, scaled by d[j], to coordinate p[j]. A later step after an earlier one is

    (p2, d2) o (p1, d1) = (p2[p1], d2[p1] * d1),

one gather of N indices and N multiplications where dense matrices cost N^3, and it acts on a column
of the state in N additions. The states follow by doubling (Hillis and Steele): after round m each step
knows what its last 2^m steps did, in log2 T dependent rounds of N V T multiply-adds each.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def column_sparse_scan(
    p: Int[Tensor, "B T N"],
    d: Float[Tensor, "B T N"],
    b: Float[Tensor, "B T N V"],
    h0: Float[Tensor, "B N V"] | None = None,
) -> Float[Tensor, "B T N V"]:
    """``h[t][i] = b[t][i] + sum of d[t][j] h[t-1][j] over p[t][j] = i``; float32 or wider inside."""
    wide = torch.promote_types(b.dtype, torch.float32)
    d, h = d.to(wide), b.to(wide)
    if h0 is not None:
        first = scattered(p[:, 0], d[:, 0], h0.to(wide)) + h[:, 0]
        h = torch.cat([first[:, None], h[:, 1:]], dim=1)
    span = 1
    while span < b.shape[1]:
        carried = scattered(p[:, span:], d[:, span:], h[:, :-span])
        h = torch.cat([h[:, :span], h[:, span:] + carried], dim=1)
        p, d = doubled(p, d, span)
        span *= 2
    return h.to(b.dtype)


def doubled(
    p: Int[Tensor, "B T N"], d: Float[Tensor, "B T N"], span: int
) -> tuple[Int[Tensor, "B T N"], Float[Tensor, "B T N"]]:
    """Every step after the one ``span`` before it; the first ``span`` steps as they were."""
    before = p[:, :-span]
    scale = d[:, span:].gather(-1, before) * d[:, :-span]
    target = p[:, span:].gather(-1, before)
    return torch.cat([p[:, :span], target], dim=1), torch.cat([d[:, :span], scale], dim=1)


def scattered(
    p: Int[Tensor, "*batch N"], d: Float[Tensor, "*batch N"], h: Float[Tensor, "*batch N V"]
) -> Float[Tensor, "*batch N V"]:
    """``A h`` with ``A[p[j], j] = d[j]``."""
    return torch.zeros_like(h).scatter_add(-2, p[..., None].expand_as(h), d[..., None] * h)
