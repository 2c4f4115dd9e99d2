"""Attention with the whole matrix of weights: torch's SDPA pinned to its unfused backend.

    o = softmax(q k^T / sqrt(K) + causal mask) v

T^2 K multiply-adds twice, and T^2 scores written and read back: the form that FlashAttention
removes, kept to show by how much.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from impl.common.axes import axis_sizes
from impl.registry import implements


@implements(
    "softmax_attention",
    source="A. Vaswani et al., NeurIPS 2017, arXiv:1706.03762; torch SDPA, MATH backend",
)
def math(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
) -> Float[Tensor, "B T H V"]:
    """Causal ``softmax(q k^T / sqrt(K)) v``, every score in the HBM; half inputs score in float32."""
    axis_sizes(math, q, k, v)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    with sdpa_kernel(SDPBackend.MATH):
        o = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return o.transpose(1, 2)
