"""Matmul tree: tiles of steps by one product each, then the ends of the tiles by the same rule.

With L[i, j] = a[j+1] ... a[i] inside a tile of ``radix`` steps, 0 above its diagonal, and c[i] the
decays since the start of the tile,

    H = L S                                 up: every tile at once
    E = matmul_tree(c[last], H[last])       the states at the ends of the tiles
    H <- H + c E[tile before]               down

A level has ``radix`` times fewer steps than the one below: log T / log radix levels up and as many
down, about 2 radix / (1 - 1 / radix) operations an element where a loop does 2. It pays with the
states of every level, written and read again, where `scans.matmul_scan` keeps one and walks.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from impl.common.axes import axis_sizes
from impl.common.chunks import accumulation_dtype
from impl.registry import implements


@implements(
    "state_recurrence",
    source="A. Zouzias and W. F. McColl, Euro-Par 2023, arXiv:2411.17887",
    trick="matmulscan",
    knobs={"radix": (4, 16, 32)},
)
def matmul_tree(
    a: Float[Tensor, "B T H"],
    s: Float[Tensor, "B T H D"],
    h0: Float[Tensor, "B H D"] | None = None,
    *,
    radix: int = 16,
) -> Float[Tensor, "B T H D"]:
    """``h[t] = a[t] h[t-1] + s[t]``; float32 inside, float64 for float64 inputs."""
    axis_sizes(matmul_tree, a, s, h0)
    dtype = accumulation_dtype(s)
    decays, states = a.to(dtype).mT, s.to(dtype).transpose(1, 2)
    if h0 is not None:
        carried = decays[:, :, :1] * h0.to(dtype)
        states = torch.cat([states[:, :, :1] + carried[:, :, None], states[:, :, 1:]], dim=2)
    return _scan(decays, states, radix).transpose(1, 2).to(s.dtype)


def _scan(
    a: Float[Tensor, "B H T"], s: Float[Tensor, "B H T D"], radix: int
) -> Float[Tensor, "B H T D"]:
    """``h[t] = a[t] h[t-1] + s[t]`` from a state of zero."""
    length = s.shape[2]
    missing = -length % radix
    a = functional.pad(a, (0, missing)).unflatten(2, (-1, radix))
    s = functional.pad(s, (0, 0, 0, missing)).unflatten(2, (-1, radix))
    steps = torch.arange(radix, device=s.device)
    over = torch.where(steps[:, None] > steps, a[..., None], 1.0)  # [over, from]
    h = over.cumprod(-2).tril() @ s
    if h.shape[2] > 1:
        since = a.cumprod(-1)
        ends = _scan(since[..., -1], h[..., -1, :], radix)
        before = functional.pad(ends[:, :, :-1], (0, 0, 1, 0))
        h = torch.addcmul(h, since[..., None], before[:, :, :, None])
    return h.flatten(2, 3)[:, :, :length]
