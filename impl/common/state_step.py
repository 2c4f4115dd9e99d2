# pyright: basic, reportArgumentType=false
"""State step: a state is read, taken through a few steps one by one, and written.

    S <- d S                      d = exp(g), a number or one a key; exp(rate a) with a rate a step
    w  = rate (v - S^T k)         the delta rule; else w = rate v, and rate 1 where there is none
    S <- S + k w^T,   o = S^T q

The columns of S need nothing of each other, so a program owns a strip of them in registers. The
state crosses the bus once each way however many steps there are, and beside it only what the steps
read and write: the least there is. Nothing is a matrix product; the K terms of an element of w and
of o are summed across threads.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from impl.common.sequences import span


def step_states(
    q: Tensor, k: Tensor, v: Tensor, rate: Tensor | None, g: Tensor | None, a: Tensor | None,
    h0: Tensor | None, cu_seqlens: Tensor | None, sequences: int, strip: int, *, corrects: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and the last state, which is not written over ``h0``. ValueError if one wants gradients."""
    given = (q, k, v, rate, g, a, h0)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given):
        raise ValueError("an input requires its gradient, want none: decoding has no backward pass")
    q, k, v = (x.contiguous() for x in (q, k, v))
    rate, g, a, h0 = (None if x is None else x.contiguous() for x in (rate, g, a, h0))
    (groups, keys), (heads, channels) = k.shape[2:], v.shape[2:]
    o, last = torch.empty_like(v), v.new_empty(sequences, heads, keys, channels)
    sizes = {"T": v.shape[1], "H": heads, "G": groups, "K": keys, "V": channels}
    blocks = {"BLOCK_K": triton.next_power_of_2(keys), "BLOCK_V": strip, "num_warps": 4}
    _state_step_kernel[sequences * heads, triton.cdiv(channels, strip)](
        q, k, v, rate, g, a, h0, cu_seqlens, o, last,
        KEY_GATES=g is not None and g.dim() == 4, CORRECTS=corrects, **sizes, **blocks,
    )  # fmt: skip
    return o, last


@triton.jit
def _state_step_kernel(
    q_ptr, k_ptr, v_ptr, rate_ptr, g_ptr, a_ptr, h0_ptr, cu_seqlens_ptr, o_ptr, last_ptr,
    T, H, G, K, V,
    KEY_GATES: tl.constexpr, CORRECTS: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    head = index % H
    group = head // (H // G)
    start, length = span(cu_seqlens_ptr, index // H, T)
    key, column = tl.arange(0, BLOCK_K), tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    kept, inside = key < K, column < V
    at = (index.to(tl.int64) * K + key[:, None]) * V + column[None, :]  # [BLOCK_K, BLOCK_V]
    whole = kept[:, None] & inside[None, :]
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += tl.load(h0_ptr + at, mask=whole, other=0.0)

    for t in range(length):
        by_head = (start + t) * H + head
        by_key = ((start + t) * G + group) * K + key
        q = tl.load(q_ptr + by_key, mask=kept, other=0.0).to(tl.float32)
        k = tl.load(k_ptr + by_key, mask=kept, other=0.0).to(tl.float32)
        w = tl.load(v_ptr + by_head * V + column, mask=inside, other=0.0).to(tl.float32)
        if KEY_GATES:
            g = tl.load(g_ptr + by_head * K + key, mask=kept, other=0.0).to(tl.float32)
            state *= tl.exp(g)[:, None]
        elif g_ptr is not None:
            state *= tl.exp(tl.load(g_ptr + by_head).to(tl.float32))
        if a_ptr is not None:
            a = tl.load(a_ptr + head).to(tl.float32)
            state *= tl.exp(a * tl.load(rate_ptr + by_head).to(tl.float32))
        if CORRECTS:
            w -= tl.sum(k[:, None] * state, axis=0)
        if rate_ptr is not None:
            w *= tl.load(rate_ptr + by_head).to(tl.float32)
        state += k[:, None] * w[None, :]
        o = tl.sum(q[:, None] * state, axis=0)
        tl.store(o_ptr + by_head * V + column, o.to(o_ptr.dtype.element_ty), mask=inside)
    tl.store(last_ptr + at, state.to(last_ptr.dtype.element_ty), mask=whole)
