# pyright: basic, reportArgumentType=false
"""Linear attention with the state on chip: one program a sequence and head walks the chunks.

Forwards, with S [K, V] in registers and M[t, s] = 1 where s <= t inside the chunk,

    O = (Q K^T * M) V + Q S,    S <- S + K^T V,    O <- O * sigmoid(gate)  when there is a gate.

Backwards, with D = dO (times sigmoid(gate)) and M^T where M was, a walk from the left and one from
the right that carries G = sum of q d^T over the later steps, first the gradient of S[T]:

    dQ = (D V^T * M) K + D S^T
    dV = (K Q^T * M^T) D + K G,    dK = (V D^T * M^T) Q + V G^T,    G <- G + Q^T D,    dh0 = G

and dgate = dO * O * (1 - sigmoid(gate)) from the gated O that was stored. The walks rebuild their
states, so nothing but the inputs is kept (and O, with a gate), and each walk reads a tensor once.

Float32 operands are multiplied as such, outside the tensor cores, where a 128 x 128 state spills:
what float32 costs here says nothing about half precision.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from impl.common.sequences import (
    block,
    load_rows,
    load_state,
    span,
    store_rows,
    store_state,
)

WIDEST = 128
"""Largest K and V: a float32 state of 128 x 128 is a quarter of a multiprocessor's registers."""


def walk(
    q: Tensor, k: Tensor, v: Tensor, gate: Tensor | None, h0: Tensor | None,
    cu_seqlens: Tensor | None, sequences: int, chunk: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and ``S[T]`` of linear attention, ``o`` times ``sigmoid(gate)`` when there is one."""
    return _Walk.apply(q, k, v, gate, h0, cu_seqlens, sequences, chunk)


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, gate, h0, cu_seqlens, sequences: int, chunk: int):
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        gate = None if gate is None else gate.contiguous()
        h0 = None if h0 is None else h0.contiguous()
        o, state = torch.empty_like(v), v.new_empty(sequences, *k.shape[2:], v.shape[-1])
        ctx.launch = grid, sizes = _launch(k, v, sequences, chunk)
        _forward_walk_kernel[grid](q, k, v, gate, h0, cu_seqlens, o, state, **sizes)
        ctx.save_for_backward(q, k, v, gate, None if gate is None else o, h0, cu_seqlens)
        ctx.set_materialize_grads(False)
        return o, state

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, gate, o, h0, cu_seqlens = ctx.saved_tensors
        d_o, d_state = grads
        d_o = torch.zeros_like(v) if d_o is None else d_o.contiguous()
        d_state = None if d_state is None else d_state.contiguous()
        dq = dk = dv = d_gate = dh0 = None
        grid, sizes = ctx.launch
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[3]:
            dq = torch.empty_like(q)
            d_gate = None if gate is None else torch.empty_like(gate)
            _query_walk_kernel[grid](k, v, gate, o, h0, d_o, cu_seqlens, dq, d_gate, **sizes)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2] or ctx.needs_input_grad[4]:
            dk, dv = torch.empty_like(k), torch.empty_like(v)
            dh0 = None if h0 is None else torch.empty_like(h0)
            _reverse_walk_kernel[grid](
                q, k, v, gate, d_o, d_state, cu_seqlens, dk, dv, dh0, **sizes
            )
        return dq, dk, dv, d_gate, dh0, None, None, None


def _launch(k: Tensor, v: Tensor, sequences: int, chunk: int) -> tuple[tuple[int], dict[str, int]]:
    """Grid and size arguments that all three kernels share."""
    length, heads, width, channels = *k.shape[1:], v.shape[-1]
    blocks = {"BLOCK_T": chunk, "BLOCK_K": block(width), "BLOCK_V": block(channels)}
    options = {
        # a warpgroup, or two where the state is more than 32 numbers a thread
        "num_warps": 4 if blocks["BLOCK_K"] * blocks["BLOCK_V"] <= 32 * 128 else 8,
        # shared memory holds the next chunk beside this one in half precision only
        "num_stages": 2 if k.dtype.itemsize == 2 else 1,
    }
    sizes = {"T": length, "H": heads, "K": width, "V": channels}
    return (sequences * heads,), sizes | blocks | options


@triton.jit
def _forward_walk_kernel(
    q_ptr, k_ptr, v_ptr, gate_ptr, h0_ptr, cu_seqlens_ptr, o_ptr, state_ptr,
    T, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    steps = tl.arange(0, BLOCK_T)
    past = steps[None, :] <= steps[:, None]  # [BLOCK_T, BLOCK_T]
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if h0_ptr is not None:
        state += load_state(h0_ptr, index, K, V, BLOCK_K, BLOCK_V)

    for done in range(0, length, BLOCK_T):
        rows, inside = start + done + steps, done + steps < length
        q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
        scores = tl.where(past, tl.dot(q, tl.trans(k), input_precision="ieee"), 0.0)
        o = tl.dot(scores.to(v.dtype), v, input_precision="ieee")
        o += tl.dot(q, state.to(q.dtype), input_precision="ieee")
        if gate_ptr is not None:
            gate = load_rows(gate_ptr, rows, inside, head, H, V, BLOCK_V)
            o *= tl.sigmoid(gate.to(tl.float32))
        store_rows(o_ptr, o, rows, inside, head, H, V, BLOCK_V)
        state += tl.dot(tl.trans(k), v, input_precision="ieee")
    store_state(state_ptr, state, index, K, V, BLOCK_K, BLOCK_V)


@triton.jit
def _query_walk_kernel(
    k_ptr, v_ptr, gate_ptr, o_ptr, h0_ptr, d_o_ptr, cu_seqlens_ptr, dq_ptr, d_gate_ptr,
    T, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    steps = tl.arange(0, BLOCK_T)
    past = steps[None, :] <= steps[:, None]  # [BLOCK_T, BLOCK_T]
    # S^T is built as such: Triton 3.4 to 3.7.0 miscompiles a dot with a transposed accumulator
    state = tl.zeros((BLOCK_V, BLOCK_K), tl.float32)
    if h0_ptr is not None:
        state += tl.trans(load_state(h0_ptr, index, K, V, BLOCK_K, BLOCK_V))

    for done in range(0, length, BLOCK_T):
        rows, inside = start + done + steps, done + steps < length
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
        d = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V)
        if gate_ptr is not None:
            gate = load_rows(gate_ptr, rows, inside, head, H, V, BLOCK_V).to(tl.float32)
            o = load_rows(o_ptr, rows, inside, head, H, V, BLOCK_V)
            d_gate = d.to(tl.float32) * o.to(tl.float32) * tl.sigmoid(-gate)
            store_rows(d_gate_ptr, d_gate, rows, inside, head, H, V, BLOCK_V)
            d = (d * tl.sigmoid(gate)).to(d.dtype)
        scores = tl.where(past, tl.dot(d, tl.trans(v), input_precision="ieee"), 0.0)
        dq = tl.dot(scores.to(k.dtype), k, input_precision="ieee")
        dq += tl.dot(d, state.to(d.dtype), input_precision="ieee")
        store_rows(dq_ptr, dq, rows, inside, head, H, K, BLOCK_K)
        state += tl.dot(tl.trans(v), k, input_precision="ieee")


@triton.jit
def _reverse_walk_kernel(
    q_ptr, k_ptr, v_ptr, gate_ptr, d_o_ptr, d_state_ptr, cu_seqlens_ptr, dk_ptr, dv_ptr, dh0_ptr,
    T, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    head = index % H
    start, length = span(cu_seqlens_ptr, index // H, T)
    steps = tl.arange(0, BLOCK_T)
    later = steps[None, :] >= steps[:, None]  # [BLOCK_T, BLOCK_T]
    # G and G^T are both carried: Triton 3.4 to 3.7.0 miscompiles a dot with a transposed accumulator
    for_v = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    for_k = tl.zeros((BLOCK_V, BLOCK_K), tl.float32)
    if d_state_ptr is not None:
        for_v += load_state(d_state_ptr, index, K, V, BLOCK_K, BLOCK_V)
        for_k += tl.trans(for_v)

    chunks = tl.cdiv(length, BLOCK_T)
    for i in range(chunks):
        done = (chunks - 1 - i) * BLOCK_T
        rows, inside = start + done + steps, done + steps < length
        q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
        k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
        d = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V)
        if gate_ptr is not None:
            gate = load_rows(gate_ptr, rows, inside, head, H, V, BLOCK_V)
            d = (d * tl.sigmoid(gate.to(tl.float32))).to(d.dtype)
        scores = tl.where(later, tl.dot(k, tl.trans(q), input_precision="ieee"), 0.0)
        dv = tl.dot(scores.to(d.dtype), d, input_precision="ieee")
        dv += tl.dot(k, for_v.to(k.dtype), input_precision="ieee")
        store_rows(dv_ptr, dv, rows, inside, head, H, V, BLOCK_V)
        scores = tl.where(later, tl.dot(v, tl.trans(d), input_precision="ieee"), 0.0)
        dk = tl.dot(scores.to(q.dtype), q, input_precision="ieee")
        dk += tl.dot(v, for_k.to(v.dtype), input_precision="ieee")
        store_rows(dk_ptr, dk, rows, inside, head, H, K, BLOCK_K)
        for_v += tl.dot(tl.trans(q), d, input_precision="ieee")
        for_k += tl.dot(tl.trans(d), q, input_precision="ieee")
    if dh0_ptr is not None:
        store_state(dh0_ptr, for_v, index, K, V, BLOCK_K, BLOCK_V)
