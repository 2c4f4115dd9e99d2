# pyright: basic, reportArgumentType=false
"""Chunkwise linear attention as two kernels: the states of all chunks, then all outputs at once.

    states    S_i = S_(i-1) + K_i^T V_i       one program a sequence and head, chunk after chunk
    outputs   O_i = (Q_i K_i^T * M) V_i + Q_i S_(i-1)       one program a chunk and head

The second kernel has no order to keep, so it fills a GPU however few the sequences are. It pays
with the T / C states of K V elements a head, written, kept for the backward pass and read again, and
with k and v read twice. Backwards likewise: the states kernel runs from the right on q and dO and
leaves G_i = sum of q d^T over the later chunks, then one kernel computes, for every chunk at once,

    dQ = (D V^T * M) K + D S^T,   dK = (V D^T * M^T) Q + V G^T,   dV = (K Q^T * M^T) D + K G.

States pass through HBM in the dtype of the inputs, as the products would round them anyway. Float32
operands are multiplied as such, outside the tensor cores.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from impl.common.sequences import (
    at_most,
    block,
    chunk_count,
    chunk_of,
    first_chunk,
    load_rows,
    load_state,
    sequence_sizes,
    span,
    store_rows,
    store_state,
)
from impl.registry import implements


@implements(
    "linear_attention",
    source="S. Yang et al., ICML 2024, arXiv:2312.06635",
    trick="chunkwise-parallel-scan",
    needs=("triton",),
    accepts={
        "K": {"at_most": 128},
        "V": {"at_most": 128},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64)},
)
def linear_attention(
    q: Float[Tensor, "B T H K"],
    k: Float[Tensor, "B T H K"],
    v: Float[Tensor, "B T H V"],
    h0: Float[Tensor, "B H K V"] | None = None,
    *,
    chunk: int = 64,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H V"], Float[Tensor, "B H K V"]]:
    """``S[t] = S[t-1] + k[t] v[t]^T``, ``o[t] = S[t]^T q[t]``; the state is summed in float32.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(linear_attention, q, k, v, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, K=128, V=128)
    return _Pair.apply(q, k, v, h0, cu_seqlens, sizes, chunk)


class _Pair(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q, k, v, h0, cu_seqlens, sizes: dict[str, int], chunk: int):
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        h0 = None if h0 is None else h0.contiguous()
        chunks = chunk_count(sizes, chunk, cu_seqlens)
        ctx.each_sequence, ctx.each_chunk = (sizes["S"] * sizes["H"],), (chunks, sizes["H"])
        ctx.options = _options(sizes, chunk, k.dtype)
        ctx.search = {"S": sizes["S"], "BLOCK_S": block(sizes["S"])}
        states = v.new_empty(chunks, *k.shape[2:], v.shape[-1])
        o, state = torch.empty_like(v), v.new_empty(sizes["S"], *k.shape[2:], v.shape[-1])
        _states_kernel[ctx.each_sequence](
            k, v, h0, cu_seqlens, states, state, REVERSE=False, **ctx.options
        )
        _outputs_kernel[ctx.each_chunk](q, k, v, states, cu_seqlens, o, **ctx.search, **ctx.options)
        ctx.save_for_backward(q, k, v, h0, cu_seqlens, states)
        ctx.set_materialize_grads(False)
        return o, state

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        q, k, v, h0, cu_seqlens, states = ctx.saved_tensors
        d_o, d_state = grads
        d_o = torch.zeros_like(v) if d_o is None else d_o.contiguous()
        d_state = None if d_state is None else d_state.contiguous()
        dh0 = None if h0 is None else torch.empty_like(h0)
        later = torch.empty_like(states)
        _states_kernel[ctx.each_sequence](
            q, d_o, d_state, cu_seqlens, later, dh0, REVERSE=True, **ctx.options
        )
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        _gradients_kernel[ctx.each_chunk](
            q, k, v, d_o, states, later, cu_seqlens, dq, dk, dv, **ctx.search, **ctx.options
        )
        return dq, dk, dv, dh0, None, None, None


def _options(sizes: dict[str, int], chunk: int, dtype: torch.dtype) -> dict[str, int]:
    """Size arguments and launch options that all three kernels share."""
    blocks = {"BLOCK_T": chunk, "BLOCK_K": block(sizes["K"]), "BLOCK_V": block(sizes["V"])}
    return {
        **{axis: sizes[axis] for axis in "THKV"},
        **blocks,
        # a warpgroup, or two where the state is more than 32 numbers a thread
        "num_warps": 4 if blocks["BLOCK_K"] * blocks["BLOCK_V"] <= 32 * 128 else 8,
        # shared memory holds the next chunk beside this one in half precision only
        "num_stages": 2 if dtype.itemsize == 2 else 1,
    }


@triton.jit
def _states_kernel(
    k_ptr, v_ptr, start_ptr, cu_seqlens_ptr, states_ptr, end_ptr,
    T, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    start, length = span(cu_seqlens_ptr, sequence, T)
    chunk = first_chunk(cu_seqlens_ptr, sequence, T, BLOCK_T)
    state = tl.zeros((BLOCK_K, BLOCK_V), tl.float32)
    if start_ptr is not None:
        state += load_state(start_ptr, index, K, V, BLOCK_K, BLOCK_V)

    chunks = tl.cdiv(length, BLOCK_T)
    for i in range(chunks):
        number = chunks - 1 - i if REVERSE else i
        store_state(states_ptr, state, (chunk + number) * H + head, K, V, BLOCK_K, BLOCK_V)
        steps = number * BLOCK_T + tl.arange(0, BLOCK_T)
        k = load_rows(k_ptr, start + steps, steps < length, head, H, K, BLOCK_K)
        v = load_rows(v_ptr, start + steps, steps < length, head, H, V, BLOCK_V)
        state += tl.dot(tl.trans(k), v, input_precision="ieee")
    if end_ptr is not None:
        store_state(end_ptr, state, index, K, V, BLOCK_K, BLOCK_V)


@triton.jit
def _outputs_kernel(
    q_ptr, k_ptr, v_ptr, states_ptr, cu_seqlens_ptr, o_ptr,
    S, T, H, K, V,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    first, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    rows, inside = first + steps, steps < left
    past = steps[None, :] <= steps[:, None]  # [BLOCK_T, BLOCK_T]
    q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
    k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
    v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
    state = load_state(states_ptr, chunk * H + head, K, V, BLOCK_K, BLOCK_V).to(q.dtype)
    scores = tl.where(past, tl.dot(q, tl.trans(k), input_precision="ieee"), 0.0)
    o = tl.dot(scores.to(v.dtype), v, input_precision="ieee")
    o += tl.dot(q, state, input_precision="ieee")
    store_rows(o_ptr, o, rows, inside, head, H, V, BLOCK_V)


@triton.jit
def _gradients_kernel(
    q_ptr, k_ptr, v_ptr, d_o_ptr, states_ptr, later_ptr, cu_seqlens_ptr, dq_ptr, dk_ptr, dv_ptr,
    S, T, H, K, V,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    first, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    rows, inside = first + steps, steps < left
    past = steps[None, :] <= steps[:, None]  # [BLOCK_T, BLOCK_T]
    later = steps[None, :] >= steps[:, None]  # [BLOCK_T, BLOCK_T]
    q = load_rows(q_ptr, rows, inside, head, H, K, BLOCK_K)
    k = load_rows(k_ptr, rows, inside, head, H, K, BLOCK_K)
    v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V)
    d = load_rows(d_o_ptr, rows, inside, head, H, V, BLOCK_V)

    index = chunk * H + head
    state = load_state(states_ptr, index, K, V, BLOCK_K, BLOCK_V).to(d.dtype)
    scores = tl.where(past, tl.dot(d, tl.trans(v), input_precision="ieee"), 0.0)
    dq = tl.dot(scores.to(k.dtype), k, input_precision="ieee")
    dq += tl.dot(d, tl.trans(state), input_precision="ieee")
    store_rows(dq_ptr, dq, rows, inside, head, H, K, BLOCK_K)

    state = load_state(later_ptr, index, K, V, BLOCK_K, BLOCK_V).to(k.dtype)
    # formed anew, not transposed: Triton 3.4 to 3.7.0 miscompiles a dot with a transposed accumulator
    scores = tl.where(later, tl.dot(v, tl.trans(d), input_precision="ieee"), 0.0)
    dk = tl.dot(scores.to(q.dtype), q, input_precision="ieee")
    dk += tl.dot(v, tl.trans(state), input_precision="ieee")
    store_rows(dk_ptr, dk, rows, inside, head, H, K, BLOCK_K)

    scores = tl.where(later, tl.dot(k, tl.trans(q), input_precision="ieee"), 0.0)
    dv = tl.dot(scores.to(d.dtype), d, input_precision="ieee")
    dv += tl.dot(k, state, input_precision="ieee")
    store_rows(dv_ptr, dv, rows, inside, head, H, V, BLOCK_V)
