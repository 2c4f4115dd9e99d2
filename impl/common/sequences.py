# pyright: basic, reportArgumentType=false
"""Sequences: a batch of equal ones, or several of any length behind one another in one row.

``cu_seqlens`` [S+1] holds where each of S packed sequences starts, and last where they all end, at
T. Seen as rows of tokens, [B, T, ...] flattened to [B T, ...], the two differ only in those limits,
so a Triton kernel asks ``span`` for its sequence, or ``chunk_of`` for one chunk of it.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from impl.common.axes import axis_sizes

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
"""What a Triton plugin computes on; all inputs of a call share one."""


def sequence_sizes(
    plugin: Callable[..., Any], *inputs: Tensor, h0: Tensor | None, cu_seqlens: Tensor | None
) -> dict[str, int]:
    """The axes of ``inputs`` and ``h0``, and ``S``, the number of sequences.

    Packed sequences lie in one row (B is 1) and ``h0`` holds a state for each. ValueError when the
    sizes or dtypes do not fit.
    """
    for x in (*inputs, *(() if h0 is None else (h0,))):
        if x.dtype not in DTYPES or x.dtype != inputs[0].dtype:
            raise ValueError(f"dtype={x.dtype}, want one of {DTYPES}, the same for every input")
    if cu_seqlens is None:
        sizes = axis_sizes(plugin, *inputs, h0)
        return {**sizes, "S": sizes["B"]}
    if len(inputs[0]) != 1:
        raise ValueError(f"B={len(inputs[0])}, want 1 with cu_seqlens")
    sizes = axis_sizes(plugin, *inputs, None if h0 is None else h0[:1])
    sizes["S"] = len(cu_seqlens) - 1
    if h0 is not None and len(h0) != sizes["S"]:
        raise ValueError(f"h0 holds {len(h0)} states, want S={sizes['S']}")
    return sizes


def at_most(sizes: dict[str, int], **limits: int) -> None:
    """ValueError when an axis is longer than its limit."""
    for axis, limit in limits.items():
        if sizes[axis] > limit:
            raise ValueError(f"{axis}={sizes[axis]}, want at most {limit}")


def block(size: int) -> int:
    """The power of two, at least 16 as ``tl.dot`` wants it, that holds ``size`` elements."""
    return max(16, triton.next_power_of_2(size))


def chunk_count(sizes: dict[str, int], chunk: int, cu_seqlens: Tensor | None) -> int:
    """Programs of ``chunk_of``: the chunks of all sequences, an upper bound when they are packed.

    Packed lengths stay on the device. Sequence s starts at chunk ``cu_seqlens[s] // chunk + s``,
    which leaves each enough and wastes less than one chunk a sequence.
    """
    if cu_seqlens is None:
        return sizes["B"] * triton.cdiv(sizes["T"], chunk)
    return sizes["T"] // chunk + sizes["S"]


@triton.jit
def span(cu_seqlens_ptr, sequence, T):
    """First row of a sequence and its length."""
    if cu_seqlens_ptr is None:
        first = sequence.to(tl.int64) * T
        length = T
    else:
        first = tl.load(cu_seqlens_ptr + sequence).to(tl.int64)
        length = (tl.load(cu_seqlens_ptr + sequence + 1) - first).to(tl.int32)
    return first, length


@triton.jit
def first_chunk(cu_seqlens_ptr, sequence, T, BLOCK_T: tl.constexpr):
    """Number of the first chunk of a sequence."""
    if cu_seqlens_ptr is None:
        chunk = sequence * tl.cdiv(T, BLOCK_T)
    else:
        chunk = (tl.load(cu_seqlens_ptr + sequence) // BLOCK_T + sequence).to(tl.int32)
    return chunk


@triton.jit
def chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr):
    """First row of a chunk and the steps from there to the end of its sequence, 0 when unused."""
    if cu_seqlens_ptr is None:
        sequence = chunk // tl.cdiv(T, BLOCK_T)
    else:
        # the sequences that end before: those whose successor's first chunk is not later
        index = tl.arange(0, BLOCK_S)
        ends = tl.load(cu_seqlens_ptr + 1 + index, mask=index < S, other=0)
        before = (ends // BLOCK_T + index + 1 <= chunk) & (index < S)
        sequence = tl.sum(before.to(tl.int32), axis=0)
    first, length = span(cu_seqlens_ptr, sequence, T)
    done = (chunk - first_chunk(cu_seqlens_ptr, sequence, T, BLOCK_T)) * BLOCK_T
    return first + done, length - done


@triton.jit
def load_rows(x_ptr, rows, inside, head, H, K, BLOCK_K: tl.constexpr, first=0):
    """Rows of one head of a contiguous [rows, H, K] tensor from column ``first``; zero past the end."""
    k = first + tl.arange(0, BLOCK_K)
    at = (rows.to(tl.int64)[:, None] * H + head) * K + k[None, :]  # [BLOCK_T, BLOCK_K]
    return tl.load(x_ptr + at, mask=inside[:, None] & (k < K)[None, :], other=0.0)


@triton.jit
def store_rows(x_ptr, x, rows, inside, head, H, K, BLOCK_K: tl.constexpr, first=0):
    """Write rows of one head of a contiguous [rows, H, K] tensor, from ``first``, in its dtype."""
    k = first + tl.arange(0, BLOCK_K)
    at = (rows.to(tl.int64)[:, None] * H + head) * K + k[None, :]  # [BLOCK_T, BLOCK_K]
    mask = inside[:, None] & (k < K)[None, :]
    tl.store(x_ptr + at, x.to(x_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _places(row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, first):
    """One long address a chunk, short ones inside it, for registers are scarce, and what is inside."""
    steps, k = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_K)[None, :]
    far = (row.to(tl.int64) * H + head) * K + first
    return far, steps * (H * K) + k, (steps < left) & (k < K - first)


@triton.jit
def load_chunk(
    x_ptr, row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, first=0
):  # fmt: skip
    """``load_rows`` of a chunk from ``row`` in a sequence with ``left`` steps from there."""
    far, near, mask = _places(row, left, head, H, K, BLOCK_T, BLOCK_K, first)
    return tl.load(x_ptr + far + near, mask=mask, other=0.0)


@triton.jit
def store_chunk(
    x_ptr, x, row, left, head, H, K, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, first=0
):  # fmt: skip
    """Write what ``load_chunk`` reads, in the dtype of the tensor."""
    far, near, mask = _places(row, left, head, H, K, BLOCK_T, BLOCK_K, first)
    tl.store(x_ptr + far + near, x.to(x_ptr.dtype.element_ty), mask=mask)


@triton.jit
def load_steps(x_ptr, row, left, head, H, BLOCK_T: tl.constexpr):
    """One float32 number a step of a contiguous [rows, H] tensor; zero past the end."""
    steps = tl.arange(0, BLOCK_T)
    x_ptr += row.to(tl.int64) * H + head
    return tl.load(x_ptr + steps * H, mask=steps < left, other=0.0).to(tl.float32)


@triton.jit
def store_steps(x_ptr, x, row, left, head, H, BLOCK_T: tl.constexpr):
    """Write what ``load_steps`` reads, in the dtype of the tensor."""
    steps = tl.arange(0, BLOCK_T)
    x_ptr += row.to(tl.int64) * H + head
    tl.store(x_ptr + steps * H, x.to(x_ptr.dtype.element_ty), mask=steps < left)


@triton.jit
def load_state(s_ptr, index, K, V, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, first=0):
    """State ``index`` of a contiguous [states, K, V] tensor in float32, its columns from ``first``.

    Zero past the edges.
    """
    k, v = tl.arange(0, BLOCK_K)[:, None], first + tl.arange(0, BLOCK_V)[None, :]
    at = (index.to(tl.int64) * K + k) * V + v  # [BLOCK_K, BLOCK_V]
    return tl.load(s_ptr + at, mask=(k < K) & (v < V), other=0.0).to(tl.float32)


@triton.jit
def load_tile(
    s_ptr, index, K, V, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, channel, first
):  # fmt: skip
    """Rows from ``channel`` and columns from ``first`` of state ``index``; zero past the edges."""
    k, v = tl.arange(0, BLOCK_K)[:, None], tl.arange(0, BLOCK_V)[None, :]
    # one long address a tile and short ones inside it: registers are scarce
    s_ptr += (index.to(tl.int64) * K + channel) * V + first
    return tl.load(s_ptr + (k * V + v), mask=(k < K - channel) & (v < V - first), other=0.0)


@triton.jit
def store_tile(
    s_ptr, state, index, K, V, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, channel, first
):  # fmt: skip
    """Write what ``load_tile`` reads, in the dtype of the tensor."""
    k, v = tl.arange(0, BLOCK_K)[:, None], tl.arange(0, BLOCK_V)[None, :]
    s_ptr += (index.to(tl.int64) * K + channel) * V + first
    mask = (k < K - channel) & (v < V - first)
    tl.store(s_ptr + (k * V + v), state.to(s_ptr.dtype.element_ty), mask=mask)


@triton.jit
def store_state(s_ptr, state, index, K, V, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, first=0):
    """Write columns from ``first`` of a state of a contiguous [states, K, V] tensor in its dtype."""
    k, v = tl.arange(0, BLOCK_K)[:, None], first + tl.arange(0, BLOCK_V)[None, :]
    at = (index.to(tl.int64) * K + k) * V + v  # [BLOCK_K, BLOCK_V]
    tl.store(s_ptr + at, state.to(s_ptr.dtype.element_ty), mask=(k < K) & (v < V))
