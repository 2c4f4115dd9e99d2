# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportCallIssue=false
"""Fused generalised delta rule (RWKV-7): the state stays on chip.

One program a sequence and head walks the chunks. With B = eta * kappa, D[i, j] = exp(g[j+1] + ... + g[i]),
a number a channel, c[i] and e[j] the decays from the start of a chunk and to its end, and D' and c'
those that stop a step earlier,

    A[i, j] = sum_d kappa[i, d] D'[i, j, d] B[j, d],   F[i, j] = ... K[j, d]    for i > j
    P[i, j] = sum_d Q[i, d] D[i, j, d] B[j, d],        W[i, j] = ... K[j, d]    for i >= j
    U = (I + A)^-1 R,   R = (c' * kappa) S + F V
    O = (c * Q) S + W V - P U,   S <- diag(c[C]) S + (e * K)^T V - (e * B)^T U

The triangles come a halving at a time, as in the fused KDA, and so does the inverse. Backwards dO and
the gradient G of the state at the end of a chunk give, in a walk from the right,

    dU = -P^T dO - (e * B) G,   dR = (I + A)^-T dU,   dV = W^T dO + F^T dR + (e * K) G
    G <- diag(c[C]) G + (c * Q)^T dO + (c' * kappa)^T dR

and a program a chunk computes the rest, from dW = dO V^T, dP = -dO U^T, dF = dR V^T and dA = -dR U^T.
The forward pass moves every tensor once; a backward pass costs it X and three triangles, U and S at
each start, 4 C + V + K V / C numbers a step, and V + K V / C more for dR and G. Against KDA it pays with
2 K numbers a step to read, less one, and with twice the triangles.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from impl.common.halved_decays_on_chip import (
    LOG2_E,
    before_gradient,
    behind_gradient,
    decays_before,
    decays_before_transposed,
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
def _generalised_kernel(
    q_ptr, k_ptr, v_ptr, kappa_ptr, eta_ptr, g_ptr, h0_ptr, cu_seqlens_ptr,
    o_ptr, last_ptr, inverse_ptr, fed_ptr, removed_ptr, written_ptr, u_ptr, starts_ptr,
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
        kappa = load_rows(kappa_ptr, rows, inside, head, H, K, BLOCK_K)
        b = kappa.to(tl.float32) * load_rows(eta_ptr, rows, inside, head, H, K, BLOCK_K)
        g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K)
        dtype = k.dtype
        # float32 to two bits, on matrix cores, where the result is rounded to half precision
        precision: tl.constexpr = "ieee" if dtype == tl.float32 else "tf32x3"

        inverse = same.to(tl.float32)
        fed = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
        removed = tl.where(same, tl.sum(q * b, axis=1)[:, None], 0.0)
        written = tl.where(same, tl.sum(q.to(tl.float32) * k, axis=1)[:, None], 0.0)
        size = 1
        while size < BLOCK_T:
            apart = parted(size, BLOCK_T)
            behind = decays_behind_transposed(g, size, BLOCK_T)
            out, into = (tl.trans(b) * behind).to(dtype), (tl.trans(k) * behind).to(dtype)
            late = (kappa * decays_before(g, size, BLOCK_T)).to(dtype)
            system = tl.where(apart, tl.dot(late, out, input_precision="ieee"), 0.0)
            joined = tl.dot(system, inverse, input_precision=precision)
            inverse -= tl.dot(inverse, joined, input_precision=precision)
            fed += tl.where(apart, tl.dot(late, into, input_precision="ieee"), 0.0)
            late = (q * decays_since(g, size, BLOCK_T)).to(dtype)
            removed += tl.where(apart, tl.dot(late, out, input_precision="ieee"), 0.0)
            written += tl.where(apart, tl.dot(late, into, input_precision="ieee"), 0.0)
            size *= 2

        inverse, fed = inverse.to(dtype), fed.to(dtype)
        removed, written = removed.to(dtype), written.to(dtype)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
        late = (kappa * decays_before(g, BLOCK_T, BLOCK_T)).to(dtype)
        recalled = tl.dot(late, state.to(dtype), input_precision="ieee")
        recalled += tl.dot(fed, v, input_precision="ieee")
        u = tl.dot(inverse, recalled.to(dtype), input_precision="ieee").to(dtype)
        if starts_ptr is not None:
            store_rows(inverse_ptr, inverse, rows, inside, head, H, BLOCK_T, BLOCK_T)
            store_rows(fed_ptr, fed, rows, inside, head, H, BLOCK_T, BLOCK_T)
            store_rows(removed_ptr, removed, rows, inside, head, H, BLOCK_T, BLOCK_T)
            store_rows(written_ptr, written, rows, inside, head, H, BLOCK_T, BLOCK_T)
            store_rows(u_ptr, u, rows, inside, head, H, V, BLOCK_V)
            place = (chunk + done // BLOCK_T) * H + head
            store_state(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V)

        late = (q * decays_since(g, BLOCK_T, BLOCK_T)).to(dtype)
        o = tl.dot(late, state.to(dtype), input_precision="ieee")
        o += tl.dot(written, v, input_precision="ieee")
        o -= tl.dot(removed, u, input_precision="ieee")
        store_rows(o_ptr, o, rows, inside, head, H, V, BLOCK_V)
        behind = decays_behind_transposed(g, BLOCK_T, BLOCK_T)
        state *= tl.exp2(tl.sum(g.to(tl.float32), axis=0) * LOG2_E)[:, None]
        state += tl.dot((tl.trans(k) * behind).to(dtype), v, input_precision="ieee")
        state -= tl.dot((tl.trans(b) * behind).to(dtype), u, input_precision="ieee")
    store_state(last_ptr, state, index, K, V, BLOCK_K, BLOCK_V)


@triton.jit
def _generalised_reverse_kernel(
    q_ptr, k_ptr, kappa_ptr, eta_ptr, g_ptr, inverse_ptr, fed_ptr, removed_ptr, written_ptr,
    d_o_ptr, d_last_ptr, cu_seqlens_ptr, dv_ptr, dr_ptr, ends_ptr, dh0_ptr,
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
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        kappa = load_rows(kappa_ptr, rows, inside, head, H, K, BLOCK_K)
        b = kappa.to(tl.float32) * load_rows(eta_ptr, rows, inside, head, H, K, BLOCK_K)
        g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K)
        d_o = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V)
        dtype = k.dtype
        place = (chunk + chunks - 1 - i) * H + head
        store_state(ends_ptr, end, place, K, V, BLOCK_K, BLOCK_V)

        behind = decays_behind(g, BLOCK_T, BLOCK_T)
        removed = load_rows(removed_ptr, rows, inside, head, H, BLOCK_T, BLOCK_T)
        du = tl.dot(tl.trans(removed), d_o, input_precision="ieee")
        du += tl.dot((b * behind).to(dtype), end.to(dtype), input_precision="ieee")
        inverse = load_rows(inverse_ptr, rows, inside, head, H, BLOCK_T, BLOCK_T)
        dr = -tl.dot(tl.trans(inverse), du.to(dtype), input_precision="ieee")
        dr = dr.to(dtype)
        store_rows(dr_ptr, dr, rows, inside, head, H, V, BLOCK_V)
        written = load_rows(written_ptr, rows, inside, head, H, BLOCK_T, BLOCK_T)
        fed = load_rows(fed_ptr, rows, inside, head, H, BLOCK_T, BLOCK_T)
        dv = tl.dot(tl.trans(written), d_o, input_precision="ieee")
        dv += tl.dot(tl.trans(fed), dr, input_precision="ieee")
        dv += tl.dot((k * behind).to(dtype), end.to(dtype), input_precision="ieee")
        store_rows(dv_ptr, dv, rows, inside, head, H, V, BLOCK_V)

        q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
        read = (tl.trans(q) * decays_since_transposed(g, BLOCK_T, BLOCK_T)).to(dtype)
        recalled = (tl.trans(kappa) * decays_before_transposed(g, BLOCK_T, BLOCK_T)).to(dtype)
        end *= tl.exp2(tl.sum(g.to(tl.float32), axis=0) * LOG2_E)[:, None]
        end += tl.dot(read, d_o, input_precision="ieee")
        end += tl.dot(recalled, dr, input_precision="ieee")
    if dh0_ptr is not None:
        store_state(dh0_ptr, end, index, K, V, BLOCK_K, BLOCK_V)


@triton.jit
def _generalised_gradients_kernel(
    q_ptr, k_ptr, v_ptr, kappa_ptr, eta_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr,
    cu_seqlens_ptr, dq_ptr, dk_ptr, dkappa_ptr, deta_ptr, dg_ptr,
    S, T, H, K, V,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    start, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    rows, inside = start + steps, steps < left
    v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
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
    dk = tl.dot(v, end.to(dtype), input_precision="ieee")
    db = -tl.dot(u, end.to(dtype), input_precision="ieee")

    # through the states at the edges of the chunk
    q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
    k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
    kappa = load_rows(kappa_ptr, rows, inside, head, H, K, BLOCK_K)
    eta = load_rows(eta_ptr, rows, inside, head, H, K, BLOCK_K)
    b = kappa.to(tl.float32) * eta
    g = load_rows(g_ptr, rows, inside, head, H, K, BLOCK_K)
    behind = decays_behind(g, BLOCK_T, BLOCK_T)
    dq *= decays_since(g, BLOCK_T, BLOCK_T)
    recalled *= decays_before(g, BLOCK_T, BLOCK_T)
    dk *= behind
    db *= behind
    dg = since_gradient(q * dq, BLOCK_T, precision, BLOCK_T)
    dg += before_gradient(kappa * recalled, BLOCK_T, precision, BLOCK_T)
    dg += behind_gradient(k * dk + b * db, BLOCK_T, precision, BLOCK_T)
    dg += (over * tl.exp2(tl.sum(g.to(tl.float32), axis=0) * LOG2_E))[None, :]

    # from step to step; each product twice, for a dot with a transposed accumulator is miscompiled
    written = tl.dot(d_o, tl.trans(v), input_precision="ieee")
    removed = -tl.dot(d_o, tl.trans(u), input_precision="ieee")
    fed = tl.dot(dr, tl.trans(v), input_precision="ieee")
    system = -tl.dot(dr, tl.trans(u), input_precision="ieee")
    written_back = tl.dot(v, tl.trans(d_o), input_precision="ieee")
    removed_back = -tl.dot(u, tl.trans(d_o), input_precision="ieee")
    fed_back = tl.dot(v, tl.trans(dr), input_precision="ieee")
    system_back = -tl.dot(u, tl.trans(dr), input_precision="ieee")
    touched = tl.sum(d_o.to(tl.float32) * v, axis=1)[:, None]
    untouched = tl.sum(d_o.to(tl.float32) * u, axis=1)[:, None]
    dq += touched * k - untouched * b
    dk += touched * q
    db -= untouched * q
    size = 1
    while size < BLOCK_T:
        apart, back = parted(size, BLOCK_T), parted_transposed(size, BLOCK_T)
        since, before = decays_since(g, size, BLOCK_T), decays_before(g, size, BLOCK_T)
        behind = decays_behind(g, size, BLOCK_T)
        into, out = (k * behind).to(dtype), (b * behind).to(dtype)
        to_q = tl.dot(tl.where(apart, written, 0.0).to(dtype), into, input_precision="ieee")
        to_q += tl.dot(tl.where(apart, removed, 0.0).to(dtype), out, input_precision="ieee")
        to_q *= since
        recall = tl.dot(tl.where(apart, fed, 0.0).to(dtype), into, input_precision="ieee")
        recall += tl.dot(tl.where(apart, system, 0.0).to(dtype), out, input_precision="ieee")
        recall *= before
        read, recalls = (q * since).to(dtype), (kappa * before).to(dtype)
        to_k = tl.dot(tl.where(back, written_back, 0.0).to(dtype), read, input_precision="ieee")
        to_k += tl.dot(tl.where(back, fed_back, 0.0).to(dtype), recalls, input_precision="ieee")
        to_k *= behind
        to_b = tl.dot(tl.where(back, removed_back, 0.0).to(dtype), read, input_precision="ieee")
        to_b += tl.dot(tl.where(back, system_back, 0.0).to(dtype), recalls, input_precision="ieee")
        to_b *= behind
        dq += to_q
        recalled += recall
        dk += to_k
        db += to_b
        dg += since_gradient(q * to_q, size, precision, BLOCK_T)
        dg += before_gradient(kappa * recall, size, precision, BLOCK_T)
        dg += behind_gradient(k * to_k + b * to_b, size, precision, BLOCK_T)
        size *= 2

    store_rows(dq_ptr, dq, rows, inside, head, H, K, BLOCK_K)
    store_rows(dk_ptr, dk, rows, inside, head, H, K, BLOCK_K)
    store_rows(dkappa_ptr, recalled + eta * db, rows, inside, head, H, K, BLOCK_K)
    store_rows(deta_ptr, kappa * db, rows, inside, head, H, K, BLOCK_K)
    store_rows(dg_ptr, dg, rows, inside, head, H, K, BLOCK_K)


class _Generalised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q, k, v, kappa, eta, g, h0, cu_seqlens, sizes: dict[str, int], chunk: int
    ):
        q, k, v, kappa, eta, g = (x.contiguous() for x in (q, k, v, kappa, eta, g))
        h0 = None if h0 is None else h0.contiguous()
        o, last = torch.empty_like(v), v.new_empty(sizes["S"], *k.shape[2:], v.shape[-1])
        triangles, u, starts = (None,) * 4, None, None
        if any(ctx.needs_input_grad):
            triangles = v.new_empty(4, *k.shape[:3], chunk).unbind()
            u = torch.empty_like(v)
            starts = v.new_empty(chunk_count(sizes, chunk, cu_seqlens), *last.shape[1:])
        meta = _meta(sizes, chunk)
        _generalised_kernel[(sizes["S"] * sizes["H"],)](
            q, k, v, kappa, eta, g, h0, cu_seqlens, o, last, *triangles, u, starts, **meta
        )
        ctx.save_for_backward(q, k, v, kappa, eta, g, h0, cu_seqlens, u, starts, *triangles)
        ctx.set_materialize_grads(False)
        ctx.sizes, ctx.meta = sizes, meta
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, kappa, eta, g, h0, cu_seqlens, u, starts, *triangles = ctx.saved_tensors
        d_o, d_last = grads
        d_o = torch.zeros_like(v) if d_o is None else d_o.contiguous()
        d_last = None if d_last is None else d_last.contiguous()
        dv, dr, ends = torch.empty_like(v), torch.empty_like(v), torch.empty_like(starts)
        dh0 = None if h0 is None else torch.empty_like(h0)
        _generalised_reverse_kernel[(ctx.sizes["S"] * ctx.sizes["H"],)](
            q, k, kappa, eta, g, *triangles, d_o, d_last, cu_seqlens, dv, dr, ends, dh0, **ctx.meta
        )
        dq, dk, dkappa, deta, dg = (torch.empty_like(x) for x in (q, k, kappa, eta, g))
        _generalised_gradients_kernel[(len(starts), ctx.sizes["H"])](
            q, k, v, kappa, eta, g, u, starts, d_o, dr, ends, cu_seqlens, dq, dk, dkappa, deta, dg,
            ctx.sizes["S"], BLOCK_S=triton.next_power_of_2(ctx.sizes["S"]), **ctx.meta,
        )  # fmt: skip
        return dq, dk, dv, dkappa, deta, dg, dh0, None, None, None


def _meta(sizes: dict[str, int], chunk: int) -> dict[str, int]:
    """Size arguments that all three kernels share."""
    meta = {axis: sizes[axis] for axis in "THKV"}
    meta |= {"BLOCK_T": chunk, "BLOCK_K": block(sizes["K"]), "BLOCK_V": block(sizes["V"])}
    return meta | {"num_warps": 4 if meta["BLOCK_K"] * meta["BLOCK_V"] <= 64 * 64 else 8}


@implements(
    "generalised_delta_rule",
    source="B. Peng et al., 2025, arXiv:2503.14456",
    trick="rwkv7-generalized-delta",
    needs=("triton",),
    accepts={
        "K": {"at_most": 128},
        "V": {"at_most": 128},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32)},
)
def generalised_fused(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    kappa: Float[Tensor, "B T H K"],
    eta: Float[Tensor, "B T H K"],
    g: Float[Tensor, "B T H K"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 32,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = (diag(exp(g)) - (eta * kappa) kappa^T) S[t-1] + k v^T``; the state is float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(generalised_fused, q, k, v, kappa, eta, g, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=128, V=128)
    o, last = _Generalised.apply(q, k, v, kappa, eta, g, h0, cu_seqlens, sizes, chunk)
    return o, last
