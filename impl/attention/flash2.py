"""FlashAttention-2: torch's SDPA pinned to its FlashAttention backend, the baseline of the field.

    o = softmax(q k^T / sqrt(K) + causal mask) v

The scores are made tile by tile and never leave the chip: T^2 K multiply-adds, halved by the causal
mask, for T K elements of traffic. On a CUDA GPU the backend is FlashAttention-2 and takes half
precision only; on a CPU it is torch's own kernel of the same algorithm.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from impl.common.axes import axis_sizes
from impl.registry import implements


@implements(
    "softmax_attention",
    source="T. Dao, ICLR 2024, arXiv:2307.08691; torch SDPA, FLASH_ATTENTION backend",
    accepts={
        "K": {"at_most": 256},
        "V": {"at_most": 256},
        "dtype@cuda": ["bfloat16", "float16"],
    },
)
def flash2(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
) -> Float[Tensor, "B T H V"]:
    """Causal ``softmax(q k^T / sqrt(K)) v`` with float32 accumulation; V != K is padded with zeros."""
    size = axis_sizes(flash2, q, k, v)
    keys, values = size["K"], size["V"]
    if max(keys, values) > 256:
        raise ValueError(f"K={keys}, V={values}, want at most 256")
    if q.is_cuda and q.dtype not in (torch.bfloat16, torch.float16):
        raise ValueError(f"dtype={q.dtype} on a GPU, want bfloat16 or float16")

    # the backend wants one width; zeros change neither the scores nor the values asked for
    width = max(keys, values)
    q, k = (torch.nn.functional.pad(x, (0, width - keys)) for x in (q, k))
    v = torch.nn.functional.pad(v, (0, width - values))
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        o = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=keys**-0.5
        )
    return o.transpose(1, 2)[..., :values]
