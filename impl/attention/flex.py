"""FlexAttention: attention whose mask is a Python predicate.

    o = softmax(q k^T / sqrt(K) + mask(t >= s)) v

Compiled for a GPU, blocks the predicate rules out are skipped: half the work of the square, as in
FlashAttention. Not compiled, as on a CPU here, every score is formed and the mask costs as much as
it saves.
"""

import functools
import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from impl.common.axes import axis_sizes
from impl.registry import implements


@implements(
    "softmax_attention",
    source="J. Dong et al., MLSys 2025, arXiv:2412.05496; torch flex_attention",
    excuses={"backward@cpu": "torch has no backward pass of FlexAttention on a CPU"},
)
def flex(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
) -> Float[Tensor, "B T H V"]:
    """Causal ``softmax(q k^T / sqrt(K)) v``; compiled on a GPU, eager on a CPU."""
    length = axis_sizes(flex, q, k, v)["T"]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    mask = _causal(length, str(q.device))
    if q.is_cuda:
        return _compiled()(q, k, v, block_mask=mask).transpose(1, 2)
    with warnings.catch_warnings():
        # torch warns that nothing is fused; here that is the point
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        return flex_attention(q, k, v, block_mask=mask).transpose(1, 2)


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(flex_attention)


@functools.lru_cache(maxsize=64)
def _causal(length: int, device: str) -> BlockMask:
    return create_block_mask(lambda b, h, t, s: t >= s, None, None, length, length, device=device)
