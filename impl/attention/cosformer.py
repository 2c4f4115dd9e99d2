"""cosFormer: attention whose weights fall with the cosine of a distance, in linear time.

The weight relu(q[t]) . relu(k[s]) cos(angle[t] - angle[s]) is a dot product of features twice as wide,

    cos(x - y) = cos x cos y + sin x sin y,    phi(u, x) = [relu(u) cos x, relu(u) sin x],

and every term is positive for angles in [0, pi/2). So with S = sum phi(k) [v, 1]^T over the steps
before a chunk, both sums of

    o[t] = sum_s w[t, s] v[s] / sum_s w[t, s]

come from one product with S, whose last column is the running normaliser, and from a square inside
the chunk of C steps. T (C (2 K + V) / 2 + 4 K V) multiply-adds against T^2 (K + V) / 2 of the whole
square, and twice the state of linear attention: 2 K (V + 1) elements a head.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from impl.common.axes import axis_sizes
from impl.common.chunks import cut, join
from impl.registry import implements


@implements(
    "cosformer_attention",
    source="Z. Qin et al., ICLR 2022, arXiv:2202.08791",
    trick="cosformer",
    knobs={"chunk": (16, 64, 128)},
)
def cosformer(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    angle: Float[Tensor, " T"],
    *,
    chunk: int = 64,
) -> Float[Tensor, "B T H V"]:
    """``o = sum_s<=t w v / sum_s<=t w``; a row without weight gives zero; float32 inside for half."""
    length = axis_sizes(cosformer, q, k, v, angle)["T"]
    turn = cut(angle[None, :, None, None], chunk)  # [1, 1, N, C, 1]
    query, key = _features(cut(q, chunk), turn), _features(cut(k, chunk), turn)
    value = functional.pad(cut(v, chunk), (0, 1), value=1.0)  # [B, H, N, C, V+1]
    written = (key.mT @ value).cumsum(dim=2)  # [B, H, N, 2K, V+1]
    before = functional.pad(written, (0, 0, 0, 0, 1, 0))[:, :, :-1]
    sums = (query @ key.mT).tril() @ value + query @ before
    total = sums[..., -1:]
    o = sums[..., :-1] / torch.where(total == 0, 1.0, total)
    return join(o, length).to(v.dtype)


def _features(x: Tensor, angle: Tensor) -> Tensor:
    """``[relu(x) cos angle, relu(x) sin angle]``."""
    x = x.relu()
    return torch.cat([x * angle.cos(), x * angle.sin()], dim=-1)
