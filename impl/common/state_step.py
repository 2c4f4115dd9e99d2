# pyright: basic, reportArgumentType=false
"""State step: a state is read, taken through a few steps one by one, and written.

    S <- d S - (eta kappa) (S^T kappa)^T      d = exp(g), a number or one a key, sigmoid(f), or exp(rate a)
    w  = rate (v - S^T k)                     the delta rule; else w = rate v, and rate 1 where there is none
    S <- S + k w^T                            R times a token, each with its own k, v and rate
    o  = S^T q                                after the last; over max(|n . q|, 1) where there is an n

n <- d n + rate k is a column behind the V of S. The columns of S need nothing of each other, so a program
owns a strip of them in registers, and an n of its own. The state crosses the bus once each way however
many steps there are, and beside it only what the steps read and write: the least there is. Nothing is a
matrix product; the K terms of an element of w and of o are summed across threads.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from impl.common.sequences import span

RATES = {"plain": 0, "sigmoid": 1, "exponential": 2}
"""What becomes of a rate before it weighs a step."""


def step_states(
    q: Tensor, k: Tensor, v: Tensor, h0: Tensor | None, cu_seqlens: Tensor | None, sizes: dict[str, int],
    strip: int, *, rate: Tensor | None = None, g: Tensor | None = None, a: Tensor | None = None,
    f: Tensor | None = None, kappa: Tensor | None = None, eta: Tensor | None = None,
    rates: str = "plain", corrects: bool = False, normalised: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and the last state, which is not written over ``h0``. ValueError if one wants gradients.

    ``rates`` is one of ``RATES``; with ``normalised``, n is the last column of every state.
    """
    given = (q, k, v, rate, g, a, f, kappa, eta, h0)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given):
        raise ValueError("an input requires its gradient, want none: decoding has no backward pass")
    q, k, v = (x.contiguous() for x in (q, k, v))
    rate, g, a, f, kappa, eta, h0 = (
        None if x is None else x.contiguous() for x in (rate, g, a, f, kappa, eta, h0)
    )
    (groups, keys), (heads, channels) = k.shape[-2:], v.shape[-2:]
    o = v.new_empty(*q.shape[:2], heads, channels)
    last = v.new_empty(sizes["S"], heads, keys, channels + normalised)
    axes = {"T": q.shape[1], "H": heads, "G": groups, "K": keys, "V": channels}
    blocks = {"BLOCK_K": triton.next_power_of_2(keys), "BLOCK_V": strip, "num_warps": 4}
    _state_step_kernel[sizes["S"] * heads, triton.cdiv(channels, strip)](
        q, k, v, rate, g, a, f, kappa, eta, h0, cu_seqlens, o, last,
        R=sizes.get("R", 1), KEY_GATES=g is not None and g.dim() == 4, RATES=RATES[rates],
        CORRECTS=corrects, NORM=int(normalised), **axes, **blocks,
    )  # fmt: skip
    return o, last


@triton.jit
def _state_step_kernel(
    q_ptr, k_ptr, v_ptr, rate_ptr, g_ptr, a_ptr, f_ptr, kappa_ptr, eta_ptr, h0_ptr, cu_seqlens_ptr,
    o_ptr, last_ptr,
    T, H, G, K, V,
    R: tl.constexpr, KEY_GATES: tl.constexpr, RATES: tl.constexpr, CORRECTS: tl.constexpr,
    NORM: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    head = index % H
    group = head // (H // G)
    start, length = span(cu_seqlens_ptr, index // H, T)
    key, column = tl.arange(0, BLOCK_K), tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    kept, inside = key < K, column < V
    row = (index.to(tl.int64) * K + key) * (V + NORM)
    at = row[:, None] + column[None, :]  # [BLOCK_K, BLOCK_V]
    whole = kept[:, None] & inside[None, :]
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    norm = tl.zeros((BLOCK_K,), tl.float32)
    if h0_ptr is not None:
        state += tl.load(h0_ptr + at, mask=whole, other=0.0)
        if NORM:
            norm += tl.load(h0_ptr + row + V, mask=kept, other=0.0)

    for t in range(length):
        by_head = (start + t) * H + head
        if kappa_ptr is not None:
            kappa = tl.load(kappa_ptr + by_head * K + key, mask=kept, other=0.0).to(tl.float32)
            share = kappa * tl.load(eta_ptr + by_head * K + key, mask=kept, other=0.0)
            removed = share[:, None] * tl.sum(kappa[:, None] * state, axis=0)[None, :]
        if KEY_GATES:
            g = tl.load(g_ptr + by_head * K + key, mask=kept, other=0.0).to(tl.float32)
            state *= tl.exp(g)[:, None]
        elif g_ptr is not None:
            state *= tl.exp(tl.load(g_ptr + by_head).to(tl.float32))
        if a_ptr is not None:
            a = tl.load(a_ptr + head).to(tl.float32)
            state *= tl.exp(a * tl.load(rate_ptr + by_head).to(tl.float32))
        if f_ptr is not None:
            f = tl.sigmoid(tl.load(f_ptr + by_head).to(tl.float32))
            state *= f
            norm *= f
        if kappa_ptr is not None:
            state -= removed
        for r in range(R):
            by_step = ((start + t) * R + r) * H + head
            by_key = (((start + t) * R + r) * G + group) * K + key
            k = tl.load(k_ptr + by_key, mask=kept, other=0.0).to(tl.float32)
            w = tl.load(v_ptr + by_step * V + column, mask=inside, other=0.0).to(tl.float32)
            if CORRECTS:
                w -= tl.sum(k[:, None] * state, axis=0)
            if rate_ptr is not None:
                rate = tl.load(rate_ptr + by_step).to(tl.float32)
                if RATES == 1:
                    rate = tl.sigmoid(rate)
                elif RATES == 2:
                    rate = tl.exp(rate)
                w *= rate
                norm += rate * k
            state += k[:, None] * w[None, :]
        by_key = ((start + t) * G + group) * K + key
        q = tl.load(q_ptr + by_key, mask=kept, other=0.0).to(tl.float32)
        o = tl.sum(q[:, None] * state, axis=0)
        if NORM:
            o /= tl.maximum(tl.abs(tl.sum(q * norm, axis=0)), 1.0)
        tl.store(o_ptr + by_head * V + column, o.to(o_ptr.dtype.element_ty), mask=inside)
    tl.store(last_ptr + at, state.to(last_ptr.dtype.element_ty), mask=whole)
    if NORM:
        # every strip has walked the same n
        first = kept & (tl.program_id(1) == 0)
        tl.store(last_ptr + row + V, norm.to(last_ptr.dtype.element_ty), mask=first)
