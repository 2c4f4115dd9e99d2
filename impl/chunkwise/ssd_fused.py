# pyright: basic, reportArgumentType=false, reportOperatorIssue=false
"""Fused SSD: Mamba-2's blocks in one kernel, the state never leaves the chip.

One program a sequence and head walks the chunks. With L[i, j] = exp(dt[j+1] a + ... + dt[i] a) for
i >= j, from[i] and to[j] its columns before the first step and its row of the last, X = dt x:

    O = (C B^T * L) X + from C S,    S <- from[last] S + B^T (to X)

Backwards, the same kernel first walks for the state before each chunk, nothing else; then a walk
from the right carries G, the gradient of S. With D = dO,

    dX   = (B C^T * L^T) D + to B G,              dx = dt dX
    dB   = (X D^T * L^T) C + to X G^T,            G <- from[last] G + C^T (from D)
    dC^T = B^T (X D^T * L^T) + from S D^T

A step's logarithm dt[t] a has the gradient of every path over it, each found where it runs, for a
difference of sums from the end would cancel: from j < t to i >= t inside the chunk, from the state
to i >= t, from j < t to the end, and from the state to the end. Forwards x, dt, o and S[T] move
once and b and c once a head of their group. It pays with T / C dependent steps, and backwards with
the states of the chunks, written and read once in float32, and with dB and dC of every head, to be
summed over its group.
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
    first_chunk,
    load_rows,
    load_state,
    sequence_sizes,
    span,
    store_rows,
    store_state,
)
from impl.registry import implements

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def _add(x, y):
    return x + y


@triton.jit
def _load_steps(
    dt_ptr, a, x_ptr, rows, inside, head, H, P, BLOCK_P: tl.constexpr
):  # fmt: skip
    """Step sizes, log decays and inputs of a chunk; past the end a step that changes nothing."""
    dt = tl.load(dt_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)
    x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P)
    return dt, dt * (a * LOG2_E), x


@triton.jit
def _ssd_fused_kernel(
    x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, h0_ptr, cu_seqlens_ptr, o_ptr, last_ptr, starts_ptr,
    T, H, P, G, N,
    BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    group = head // (H // G)
    start, length = span(cu_seqlens_ptr, sequence, T)
    chunk = first_chunk(cu_seqlens_ptr, sequence, T, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    a = tl.load(a_ptr + head).to(tl.float32)
    state = tl.zeros((BLOCK_N, BLOCK_P), tl.float32)
    if h0_ptr is not None:
        state += load_state(h0_ptr, index, N, P, BLOCK_N, BLOCK_P)

    for done in range(0, length, BLOCK_T):
        rows, inside = start + done + steps, done + steps < length
        dt, g, x = _load_steps(dt_ptr, a, x_ptr, rows, inside, head, H, P, BLOCK_P)
        b = load_rows(b_ptr, rows, inside, group, G, N, BLOCK_N)
        write = (x * dt[:, None]).to(x.dtype)
        over = tl.where(steps[:, None] > steps[None, :], g[:, None], 0.0)  # [over, from]
        if starts_ptr is not None:
            place = (chunk + done // BLOCK_T) * H + head
            store_state(starts_ptr, state, place, N, P, BLOCK_N, BLOCK_P)
        if o_ptr is not None:
            c = load_rows(c_ptr, rows, inside, group, G, N, BLOCK_N)
            decay = tl.exp2(tl.associative_scan(over, 0, _add))  # [to, from]
            scores = tl.dot(c, tl.trans(b), input_precision="ieee")
            scores = tl.where(steps[:, None] >= steps[None, :], scores * decay, 0.0)
            o = tl.dot(c, state.to(c.dtype), input_precision="ieee")
            o *= tl.exp2(tl.associative_scan(g, 0, _add))[:, None]
            o += tl.dot(scores.to(x.dtype), write, input_precision="ieee")
            store_rows(o_ptr, o, rows, inside, head, H, P, BLOCK_P)
        kept = (write * tl.exp2(tl.sum(over, axis=0))[:, None]).to(x.dtype)
        state *= tl.exp2(tl.sum(g, axis=0))
        state += tl.dot(tl.trans(b), kept, input_precision="ieee")
    if last_ptr is not None:
        store_state(last_ptr, state, index, N, P, BLOCK_N, BLOCK_P)


@triton.jit
def _ssd_fused_backward_kernel(
    x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, starts_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    dx_ptr, d_dt_ptr, da_ptr, db_ptr, dc_ptr, dh0_ptr,
    T, H, P, G, N,
    BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    group = head // (H // G)
    start, length = span(cu_seqlens_ptr, sequence, T)
    chunk = first_chunk(cu_seqlens_ptr, sequence, T, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    later = steps[:, None] < steps[None, :]  # [from, to]
    a = tl.load(a_ptr + head).to(tl.float32)
    da = 0.0
    d_state = tl.zeros((BLOCK_N, BLOCK_P), tl.float32)
    if d_last_ptr is not None:
        d_state += load_state(d_last_ptr, index, N, P, BLOCK_N, BLOCK_P)

    chunks = tl.cdiv(length, BLOCK_T)
    for i in range(chunks):
        done = (chunks - 1 - i) * BLOCK_T
        rows, inside = start + done + steps, done + steps < length
        dt, g, x = _load_steps(dt_ptr, a, x_ptr, rows, inside, head, H, P, BLOCK_P)
        b = load_rows(b_ptr, rows, inside, group, G, N, BLOCK_N)
        c = load_rows(c_ptr, rows, inside, group, G, N, BLOCK_N)
        d_o = load_rows(d_o_ptr, rows, inside, head, H, P, BLOCK_P)

        over = tl.where(later, g[None, :], 0.0)  # [from, over]
        decay = tl.exp2(tl.associative_scan(over, 1, _add))  # [from, to]
        decay = tl.where(steps[:, None] <= steps[None, :], decay, 0.0)
        until, since = tl.exp2(tl.sum(over, axis=1)), tl.exp2(tl.associative_scan(g, 0, _add))
        whole = tl.exp2(tl.sum(g, axis=0))

        scores = tl.dot(b, tl.trans(c), input_precision="ieee") * decay
        carried = until[:, None] * tl.dot(b, d_state.to(b.dtype), input_precision="ieee")
        to_end = tl.sum(x * carried, axis=1) * dt
        d_write = carried + tl.dot(scores.to(x.dtype), d_o, input_precision="ieee")
        store_rows(dx_ptr, d_write * dt[:, None], rows, inside, head, H, P, BLOCK_P)
        d_dt = tl.sum(x * d_write, axis=1)

        d_scores = tl.dot(x, tl.trans(d_o), input_precision="ieee") * dt[:, None]
        paths = tl.associative_scan(scores * d_scores, 1, _add, reverse=True)  # [from, over]
        dg = tl.sum(tl.where(later, paths + to_end[:, None], 0.0), axis=0)
        d_scores = (d_scores * decay).to(x.dtype)
        db = tl.trans(tl.dot(d_state.to(x.dtype), tl.trans(x), input_precision="ieee"))
        db = db * (until * dt)[:, None] + tl.dot(d_scores, c, input_precision="ieee")
        store_rows(db_ptr, db, rows, inside, head, H, N, BLOCK_N)

        place = (chunk + chunks - 1 - i) * H + head
        state = load_state(starts_ptr, place, N, P, BLOCK_N, BLOCK_P)
        dg += whole * tl.sum(d_state * state)
        # both terms as [N, C]: Triton 3.4 to 3.7.0 miscompiles a product with trans(d_scores)
        dc = tl.dot(state.to(d_o.dtype), tl.trans(d_o), input_precision="ieee") * since[None, :]
        from_start = tl.sum(dc * tl.trans(c), axis=0)
        dc += tl.dot(tl.trans(b), d_scores, input_precision="ieee")
        store_rows(dc_ptr, tl.trans(dc), rows, inside, head, H, N, BLOCK_N)

        dg += tl.associative_scan(from_start, 0, _add, reverse=True)
        d_dt += dg * a
        tl.store(d_dt_ptr + rows * H + head, d_dt.to(d_dt_ptr.dtype.element_ty), mask=inside)
        da += tl.sum(dg * dt, axis=0)
        read = (d_o * since[:, None]).to(d_o.dtype)
        d_state *= whole
        d_state += tl.dot(tl.trans(c), read, input_precision="ieee")
    tl.store(da_ptr + index, da)
    if dh0_ptr is not None:
        store_state(dh0_ptr, d_state, index, N, P, BLOCK_N, BLOCK_P)


class _SsdFused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, dt, a, b, c, h0, cu_seqlens, sizes: dict[str, int], chunk: int):
        x, dt, a, b, c = (each.contiguous() for each in (x, dt, a, b, c))
        h0 = None if h0 is None else h0.contiguous()
        o = torch.empty_like(x)
        last = x.new_empty(*(sizes[axis] for axis in "SHNP"))
        ctx.sizes, ctx.launch = sizes, _launch(sizes, chunk, x.element_size())
        ctx.save_for_backward(x, dt, a, b, c, h0, cu_seqlens)
        ctx.set_materialize_grads(False)
        grid, options = ctx.launch
        _ssd_fused_kernel[grid](x, dt, a, b, c, h0, cu_seqlens, o, last, None, **options)
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        x, dt, a, b, c, h0, cu_seqlens = ctx.saved_tensors
        d_o = torch.zeros_like(x) if grads[0] is None else grads[0].contiguous()
        d_last = None if grads[1] is None else grads[1].contiguous()
        (grid, options), sizes = ctx.launch, ctx.sizes
        chunks = chunk_count(sizes, options["BLOCK_T"], cu_seqlens)
        wide = {"dtype": torch.float32, "device": x.device}
        starts = torch.empty(chunks, *(sizes[axis] for axis in "HNP"), **wide)
        _ssd_fused_kernel[grid](x, dt, a, b, c, h0, cu_seqlens, None, None, starts, **options)

        dx, d_dt = torch.empty_like(x), torch.empty_like(dt)
        da = torch.empty(sizes["S"], sizes["H"], **wide)
        options = {**options, "num_warps": 8, "num_stages": 1}
        db, dc = (torch.empty(*x.shape[:3], sizes["N"], **wide) for _ in range(2))
        dh0 = None if h0 is None else torch.empty_like(h0)
        _ssd_fused_backward_kernel[grid](
            x, dt, a, b, c, starts, d_o, d_last, cu_seqlens, dx, d_dt, da, db, dc, dh0, **options
        )
        db, dc = (each.unflatten(2, (sizes["G"], -1)).sum(3).to(b.dtype) for each in (db, dc))
        return dx, d_dt, da.sum(0).to(a.dtype), db, dc, dh0, None, None, None


def _launch(sizes: dict[str, int], chunk: int, itemsize: int) -> tuple[tuple[int], dict[str, int]]:
    """Grid and size arguments that both kernels share."""
    options = {axis: sizes[axis] for axis in "THPGN"} | {"BLOCK_T": chunk}
    options |= {"BLOCK_P": block(sizes["P"]), "BLOCK_N": block(sizes["N"])}
    options["num_warps"] = 8 if options["BLOCK_P"] * options["BLOCK_N"] > 4096 else 4
    # loads ahead fit into the shared memory of 227 KiB for 16-bit inputs of the forward walk only
    options["num_stages"] = 3 if itemsize == 2 else 1
    return (sizes["S"] * sizes["H"],), options


@implements(
    "ssd",
    source="T. Dao and A. Gu, ICML 2024, arXiv:2405.21060",
    trick="semiseparable-block-decomposition",
    needs=("triton",),
    accepts={
        "P": {"at_most": 128},
        "N": {"at_most": 128},
        "dtype": ["float32", "bfloat16", "float16"],
    },
    knobs={"chunk": (16, 32, 64)},
)
def ssd_fused(
    x: Float[Tensor, "B T H P"],
    dt: Float[Tensor, "B T H"],
    a: Float[Tensor, " H"],
    b: Float[Tensor, "B T G N"],
    c: Float[Tensor, "B T G N"],
    h0: Float[Tensor, "B H N P"] | None = None,
    *,
    chunk: int = 64,
    cu_seqlens: Int[Tensor, " S+1"] | None = None,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H N P"]]:
    """``S[t] = exp(dt a) S[t-1] + dt b x^T``, ``o = S^T c``; the state is float32 on chip.

    With ``cu_seqlens``, which must end at T, B is 1 and ``h0`` and the final state have S rows.
    """
    sizes = sequence_sizes(ssd_fused, x, dt, a, b, c, h0=h0, cu_seqlens=cu_seqlens)
    at_most(sizes, P=128, N=128)
    if sizes["H"] % sizes["G"]:
        raise ValueError(f"H={sizes['H']}, want a multiple of G={sizes['G']}")
    o, last = _SsdFused.apply(x, dt, a, b, c, h0, cu_seqlens, sizes, chunk)
    return o, last
