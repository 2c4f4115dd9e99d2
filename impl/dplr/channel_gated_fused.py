# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
"""Fused delta rule with a decay for each key channel (KDA): the state stays on chip.

One program a sequence and head walks the chunks. With D[i, j] = exp(g[j+1] + ... + g[i]), a number a
channel, c[i] and e[j] the decays from the start of a chunk and to its end,

    A[i, j] = beta[i] sum_d k[i, d] D[i, j, d] k[j, d]    for i > j
    P[i, j] = sum_d q[i, d] D[i, j, d] k[j, d]            for i >= j
    R = diag(beta) (V - (c * K) S),   U = (I + A)^-1 R
    O = (c * Q) S + P U,   S <- diag(c[C]) S + (e * K)^T U

A and P come a halving at a time, a product each, and the halving that adds A's next blocks also takes
the inverse to them: X becomes X - X A X. No exponent is above 0.
Backwards dO and the gradient G of the state at the end of a chunk give, in a walk from the right,

    dU = P^T dO + (e * K) G,   dR = (I + A)^-T dU
    G <- diag(c[C]) G + (c * Q)^T dO - (beta c * K)^T dR

and a program a chunk computes the rest, from dP = dO U^T and dA = -dR U^T, halving by halving. The
gradient of g sums the paths over each step; the difference of q dq and k dk would cancel. The forward
pass moves every tensor once; a backward pass costs it X, P, U and S at each start, 2 C + V + K V / C
numbers a step, and V + K V / C more for dR and G. Against one decay a head it pays with K - 1 more
numbers a step to read, and with log2(C) products and 2 K log2(C) exponentials for its one product.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from impl.common.halved_decays_on_chip import (
    LOG2_E,
    behind_gradient,
    decays_behind,
    decays_behind_transposed,
    decays_since,
    decays_since_transposed,
    parted,
    parted_transposed,
    since_gradient,
)
from impl.common.sequences import (
    at_most,
    block,
    chunk_count,
    chunk_of,
    first_chunk,
    load_rows,
    load_state,
    load_state_transposed,
    sequence_sizes,
    span,
    store_rows,
    store_state,
)
from impl.registry import implements


@triton.jit
def _channel_gated_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, h0_ptr, cu_seqlens_ptr,
    o_ptr, last_ptr, inverse_ptr, scores_ptr, u_ptr, starts_ptr,
    T, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    chunk = first_chunk(cu_seqlens_ptr, index // H, T, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    same = steps[:, None] == steps[None, :]
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += load_state(h0_ptr, index, K, V, BLOCK_K, BLOCK_V)

    for done in range(0, length, BLOCK_T):
        rows, inside = start + done + steps, done + steps < length
        q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K)
        beta = tl.load(beta_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)[:, None]
        dtype = k.dtype
        # float32 to two bits, on matrix cores, where the result is rounded to half precision
        precision: tl.constexpr = "ieee" if dtype == tl.float32 else "tf32x3"

        inverse = same.to(tl.float32)
        scores = tl.where(same, tl.sum(q.to(tl.float32) * k, axis=1)[:, None], 0.0)
        size = 1
        while size < BLOCK_T:
            apart = parted(size, BLOCK_T)
            since = decays_since(g, size, BLOCK_T)
            early = (tl.trans(k) * decays_behind_transposed(g, size, BLOCK_T)).to(dtype)
            joint = tl.dot((k * since).to(dtype), early, input_precision="ieee") * beta
            joined = tl.dot(tl.where(apart, joint, 0.0), inverse, input_precision=precision)
            inverse -= tl.dot(inverse, joined, input_precision=precision)
            joint = tl.dot((q * since).to(dtype), early, input_precision="ieee")
            scores += tl.where(apart, joint, 0.0)
            size *= 2

        since = decays_since(g, BLOCK_T, BLOCK_T)
        inverse, scores = inverse.to(dtype), scores.to(dtype)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
        recalled = tl.dot((k * since).to(dtype), state.to(dtype), input_precision="ieee")
        wrong = (beta * (v - recalled)).to(dtype)
        u = tl.dot(inverse, wrong, input_precision="ieee").to(dtype)
        if starts_ptr is not None:
            store_rows(inverse_ptr, inverse, rows, inside, head, H, BLOCK_T, BLOCK_T)
            store_rows(scores_ptr, scores, rows, inside, head, H, BLOCK_T, BLOCK_T)
            store_rows(u_ptr, u, rows, inside, head, H, V, BLOCK_V)
            place = (chunk + done // BLOCK_T) * H + head
            store_state(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V)

        o = tl.dot((q * since).to(dtype), state.to(dtype), input_precision="ieee")
        o += tl.dot(scores, u, input_precision="ieee")
        store_rows(o_ptr, o, rows, inside, head, H, V, BLOCK_V)
        kept = (tl.trans(k) * decays_behind_transposed(g, BLOCK_T, BLOCK_T)).to(dtype)
        state *= tl.exp2(tl.sum(g.to(tl.float32), axis=0) * LOG2_E)[:, None]
        state += tl.dot(kept, u, input_precision="ieee")
    store_state(last_ptr, state, index, K, V, BLOCK_K, BLOCK_V)


@triton.jit
def _channel_gated_reverse_kernel(
    q_ptr, k_ptr, beta_ptr, g_ptr, inverse_ptr, scores_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    dr_ptr, ends_ptr, dh0_ptr,
    T, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    chunk = first_chunk(cu_seqlens_ptr, index // H, T, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    end = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if d_last_ptr is not None:
        end += load_state(d_last_ptr, index, K, V, BLOCK_K, BLOCK_V)

    chunks = tl.cdiv(length, BLOCK_T)
    for i in range(chunks):
        done = (chunks - 1 - i) * BLOCK_T
        rows, inside = start + done + steps, done + steps < length
        q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K)
        d_o = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V)
        inverse = load_rows(inverse_ptr, rows, inside, head, H, BLOCK_T, BLOCK_T)
        scores = load_rows(scores_ptr, rows, inside, head, H, BLOCK_T, BLOCK_T)
        beta = tl.load(beta_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)
        dtype = k.dtype
        place = (chunk + chunks - 1 - i) * H + head
        store_state(ends_ptr, end, place, K, V, BLOCK_K, BLOCK_V)

        kept = (k * decays_behind(g, BLOCK_T, BLOCK_T)).to(dtype)
        du = tl.dot(tl.trans(scores), d_o, input_precision="ieee")
        du += tl.dot(kept, end.to(dtype), input_precision="ieee")
        dr = tl.dot(tl.trans(inverse), du.to(dtype), input_precision="ieee").to(dtype)
        store_rows(dr_ptr, dr, rows, inside, head, H, V, BLOCK_V)

        since = decays_since_transposed(g, BLOCK_T, BLOCK_T)
        read = (tl.trans(q) * since).to(dtype)
        recalled = (tl.trans(k) * since * beta[None, :]).to(dtype)
        end *= tl.exp2(tl.sum(g.to(tl.float32), axis=0) * LOG2_E)[:, None]
        end += tl.dot(read, d_o, input_precision="ieee")
        end -= tl.dot(recalled, dr, input_precision="ieee")
    if dh0_ptr is not None:
        store_state(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V)


@triton.jit
def _channel_gated_gradients_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr,
    cu_seqlens_ptr, dq_ptr, dk_ptr, dv_ptr, dbeta_ptr, dg_ptr,
    S, T, H, K, V,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    start, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    rows, inside = start + steps, steps < left
    u = load_rows(u_ptr, rows, inside, head, H, V, BLOCK_V)
    d_o = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V)
    dr = load_rows(dr_ptr, rows, inside, head, H, V, BLOCK_V)
    place = chunk * H + head
    state = load_state_transposed(starts_ptr, place, K, V, BLOCK_K, BLOCK_V)
    end = load_state_transposed(ends_ptr, place, K, V, BLOCK_K, BLOCK_V)
    over = tl.sum(state * end, axis=0)  # [BLOCK_K]
    dtype = u.dtype
    precision: tl.constexpr = "ieee" if dtype == tl.float32 else "tf32x3"
    dq = tl.dot(d_o, state.to(dtype), input_precision="ieee")
    recalled = tl.dot(dr, state.to(dtype), input_precision="ieee")
    kept = tl.dot(u, end.to(dtype), input_precision="ieee")

    # through the states at the edges of the chunk
    q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
    k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
    g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K)
    v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
    beta = tl.load(beta_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)
    since = decays_since(g, BLOCK_T, BLOCK_T)
    dq *= since
    recalled *= since
    kept *= decays_behind(g, BLOCK_T, BLOCK_T)
    dbeta = tl.sum(dr.to(tl.float32) * v, axis=1) - tl.sum(recalled * k, axis=1)
    recalled *= beta[:, None]
    dk = kept - recalled
    dg = since_gradient(q * dq - k * recalled, BLOCK_T, precision, BLOCK_T)
    dg += behind_gradient(k * kept, BLOCK_T, precision, BLOCK_T)
    dg += (over * tl.exp2(tl.sum(g.to(tl.float32), axis=0) * LOG2_E))[None, :]

    # from step to step; each product twice, for a dot with a transposed accumulator is miscompiled
    scores = tl.dot(d_o, tl.trans(u), input_precision="ieee")
    system = -tl.dot(dr, tl.trans(u), input_precision="ieee")
    scores_back = tl.dot(u, tl.trans(d_o), input_precision="ieee")
    system_back = -tl.dot(u, tl.trans(dr), input_precision="ieee") * beta[None, :]
    touched = tl.sum(d_o.to(tl.float32) * u, axis=1)[:, None]
    dq += touched * k
    dk += touched * q
    size = 1
    while size < BLOCK_T:
        apart, back = parted(size, BLOCK_T), parted_transposed(size, BLOCK_T)
        since, behind = decays_since(g, size, BLOCK_T), decays_behind(g, size, BLOCK_T)
        early = (k * behind).to(dtype)
        to_q = tl.where(apart, scores, 0.0).to(dtype)
        to_q = tl.dot(to_q, early, input_precision="ieee") * since
        to_k = tl.where(apart, system, 0.0).to(dtype)
        to_k = tl.dot(to_k, early, input_precision="ieee") * since
        dbeta += tl.sum(to_k * k, axis=1)
        to_k *= beta[:, None]
        d_early = tl.where(back, scores_back, 0.0).to(dtype)
        d_early = tl.dot(d_early, (q * since).to(dtype), input_precision="ieee")
        d_system = tl.where(back, system_back, 0.0).to(dtype)
        d_early += tl.dot(d_system, (k * since).to(dtype), input_precision="ieee")
        d_early *= behind
        dq += to_q
        dk += to_k + d_early
        dg += since_gradient(q * to_q + k * to_k, size, precision, BLOCK_T)
        dg += behind_gradient(k * d_early, size, precision, BLOCK_T)
        size *= 2

    store_rows(dq_ptr, dq, rows, inside, head, H, K, BLOCK_K)
    store_rows(dk_ptr, dk, rows, inside, head, H, K, BLOCK_K)
    store_rows(dg_ptr, dg, rows, inside, head, H, K, BLOCK_K)
    store_rows(dv_ptr, beta[:, None] * dr, rows, inside, head, H, V, BLOCK_V)
    tl.store(dbeta_ptr + rows * H + head, dbeta.to(dtype), mask=inside)


class _ChannelGated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, beta, g, h0, cu_seqlens, sizes: dict[str, int], chunk: int):
        q, k, v, beta, g = (x.contiguous() for x in (q, k, v, beta, g))
        h0 = None if h0 is None else h0.contiguous()
        o, last = torch.empty_like(v), v.new_empty(sizes["S"], *k.shape[2:], v.shape[-1])
        inverse = scores = u = starts = None
        if any(ctx.needs_input_grad):
            inverse, scores = (v.new_empty(*beta.shape, chunk) for _ in range(2))
            u = torch.empty_like(v)
            starts = v.new_empty(chunk_count(sizes, chunk, cu_seqlens), *last.shape[1:])
        meta = _meta(sizes, chunk)
        _channel_gated_kernel[(sizes["S"] * sizes["H"],)](
            q, k, v, beta, g, h0, cu_seqlens, o, last, inverse, scores, u, starts, **meta
        )
        ctx.save_for_backward(q, k, v, beta, g, h0, cu_seqlens, inverse, scores, u, starts)
        ctx.set_materialize_grads(False)
        ctx.sizes, ctx.meta = sizes, meta
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, beta, g, h0, cu_seqlens, inverse, scores, u, starts = ctx.saved_tensors
        d_o, d_last = grads
        d_o = torch.zeros_like(v) if d_o is None else d_o.contiguous()
        d_last = None if d_last is None else d_last.contiguous()
        dr, ends = torch.empty_like(v), torch.empty_like(starts)
        dh0 = None if h0 is None else torch.empty_like(h0)
        _channel_gated_reverse_kernel[(ctx.sizes["S"] * ctx.sizes["H"],)](
            q, k, beta, g, inverse, scores, d_o, d_last, cu_seqlens, dr, ends, dh0, **ctx.meta
        )
        dq, dk, dv, dbeta, dg = (torch.empty_like(x) for x in (q, k, v, beta, g))
        _channel_gated_gradients_kernel[(len(starts), ctx.sizes["H"])](
            q, k, v, beta, g, u, starts, d_o, dr, ends, cu_seqlens, dq, dk, dv, dbeta, dg,
            ctx.sizes["S"], BLOCK_S=triton.next_power_of_2(ctx.sizes["S"]), **ctx.meta,
        )  # fmt: skip
        return dq, dk, dv, dbeta, dg, dh0, None, None, None


def _meta(sizes: dict[str, int], chunk: int) -> dict[str, int]:
    """Size arguments that all three kernels share."""
    meta = {axis: sizes[axis] for axis in "THKV"}
    meta |= {"BLOCK_T": chunk, "BLOCK_K": block(sizes["K"]), "BLOCK_V": block(sizes["V"])}
    return meta | {"num_warps": 4 if meta["BLOCK_K"] * meta["BLOCK_V"] <= 64 * 64 else 8}


@implements(
    "channel_gated_delta_rule",
    source="Kimi Team, 2025, arXiv:2510.26692",
    trick="kda-constrained-dplr",
    needs=("triton",),
    accepts={
        "K": {"at_most": 128},
        "V": {"at_most": 128},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32)},
)
def channel_gated_fused(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    beta: Float[Tensor, "B T H"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S' = exp(g)[:, None] * S[t-1]``, then the delta rule on ``S'``; the state is float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(channel_gated_fused, q, k, v, beta, g, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=128, V=128)
    o, last = _ChannelGated.apply(q, k, v, beta, g, h0, cu_seqlens, sizes, chunk)
    return o, last
