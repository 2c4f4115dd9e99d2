# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
"""SSD on chip: a program walks the chunks of a head, some columns of the state in registers.

With L[i, j] = exp(dt[j+1] a + ... + dt[i] a) for i >= j, from[i] and to[j] its columns before the first
step and its row of the last, and X = dt x,

    O = (C B^T * L) X + from C S,    S <- from[last] S + B^T (to X)

Forwards a program takes 64 columns of x, 32 where N is beyond 128, and each asks for b and c anew. The
state is kept at every ``checkpoint`` steps. Backwards one program takes some heads of a group, over
these pieces from the right. For every head of a piece it rebuilds the states before the chunks, walks
back with G, the gradient of S after a chunk, and leaves both in tensors of one piece. Then, with
D = dO, chunk by chunk,

    dX = (B C^T * L^T) D + to B G,    dx = dt dX,          G <- from[last] G + C^T (from D)
    dB = dt ((x D^T * L^T) C + to x G^T)
    dC = (D X^T * L) B + from D S^T

and dB and dC are added up over the heads of the program. A step's logarithm dt[t] a has the gradient of
every path over it, each found where it runs, for a difference of sums from the end would cancel: from
j < t to i >= t inside the chunk, from the state to i >= t, from j < t to the end, and from the state to
the end.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from impl.common.sequences import (
    block,
    chunk_count,
    first_chunk,
    load_rows,
    load_state,
    load_state_transposed,
    span,
    store_rows,
    store_state,
)

WIDEST = 256
"""Largest N and P."""
COLUMNS, STATE = 64, 128 * 64
"""Columns and numbers of the state a program walks: 128 x 64 in float32 are 32 registers a thread."""
PART: tl.constexpr = tl.constexpr(64)
"""Columns of b and c to a product of their rows where N is more than twice as many."""
BACK = 16
"""Steps of a chunk and columns of the state that gradients take at a time: more spills registers."""


def ssd_walk(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h0: Tensor | None,
    cu_seqlens: Tensor | None, sizes: dict[str, int], chunk: int, checkpoint: int, heads: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and ``S[T]`` of SSD; at most ``heads`` heads of a group share a program backwards."""
    meta = {axis: sizes[axis] for axis in "THPGN"} | {"BLOCK_T": chunk}
    meta |= {"BLOCK_N": block(sizes["N"])}
    meta["BLOCK_P"] = min(block(sizes["P"]), COLUMNS, STATE // meta["BLOCK_N"])
    # loads ahead of their use cost the registers that the chunk needs
    meta |= {"EVERY": max(1, checkpoint // chunk), "num_warps": 8, "num_stages": 1}
    if x.dtype.itemsize > 2:
        # unless told how many registers there are, ptxas leaves most of them, and spills
        meta |= {"maxnreg": 255}
    return _Walk.apply(x, dt, a, b, c, h0, cu_seqlens, sizes, meta, heads)  # pyright: ignore[reportReturnType]


class _Walk(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x, dt, a, b, c, h0, cu_seqlens, sizes: dict[str, int], meta: dict[str, int], heads: int
    ):  # fmt: skip
        x, dt, a, b, c = (each.contiguous() for each in (x, dt, a, b, c))
        h0 = None if h0 is None else h0.contiguous()
        o = torch.empty_like(x)
        last, starts = x.new_empty(*(sizes[axis] for axis in "SHNP")), None
        if any(ctx.needs_input_grad):
            pieces = chunk_count(sizes, meta["EVERY"] * meta["BLOCK_T"], cu_seqlens)
            # an empty sequence has a place too
            starts = x.new_empty(max(1, pieces), *last.shape[1:])
        grid = (sizes["S"] * sizes["H"], triton.cdiv(sizes["P"], meta["BLOCK_P"]))
        _ssd_walk_kernel[grid](x, dt, a, b, c, h0, cu_seqlens, o, last, starts, **meta)
        ctx.save_for_backward(x, dt, a, b, c, h0, cu_seqlens, starts)
        ctx.set_materialize_grads(False)
        ctx.sizes, ctx.meta, ctx.heads = sizes, meta, _share(sizes, heads)
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        x, dt, a, b, c, h0, cu_seqlens, starts = ctx.saved_tensors
        d_o = torch.zeros_like(x) if grads[0] is None else grads[0].contiguous()
        d_last = None if grads[1] is None else grads[1].contiguous()
        sizes, heads = ctx.sizes, ctx.heads
        kept = ctx.meta["EVERY"] * ctx.meta["BLOCK_T"]
        meta = ctx.meta | {"BLOCK_T": BACK, "BLOCK_P": BACK, "EVERY": kept // BACK}
        parts, each = sizes["H"] // heads, sizes["H"] // sizes["G"] // heads
        wide = {"dtype": torch.float32, "device": x.device}
        dx, d_dt = torch.empty_like(x), torch.empty_like(dt)
        dh0 = None if h0 is None else torch.empty_like(h0)
        da = torch.zeros(starts.shape[:2], **wide)
        # of a whole group as they are returned, else one a part in float32, to be summed
        shape = (*b.shape[:2], parts, sizes["N"])
        kind = {"dtype": b.dtype if each == 1 else torch.float32, "device": x.device}
        db, dc = torch.empty(shape, **kind), torch.empty(shape, **kind)

        programs = sizes["S"] * parts
        states = x.new_empty(programs, meta["EVERY"], *starts.shape[2:])
        end = torch.empty(sizes["S"], *starts.shape[1:], **wide)
        sums = torch.empty(2, programs, kept, sizes["N"], **wide)
        _ssd_pieces_kernel[(programs,)](
            x, dt, a, b, c, starts, d_o, d_last, cu_seqlens,
            states, torch.empty_like(states), end, *sums, dx, d_dt, da, db, dc, dh0,
            HEADS=heads, **meta,
        )  # fmt: skip
        if each > 1:
            db, dc = (part.unflatten(2, (-1, each)).sum(3).to(b.dtype) for part in (db, dc))
        return dx, d_dt, da.sum(0).to(a.dtype), db, dc, dh0, None, None, None, None


def _share(sizes: dict[str, int], heads: int) -> int:
    """Heads of a program: the most that divide those of a group, at most ``heads``."""
    group = sizes["H"] // sizes["G"]
    return next(n for n in range(min(heads, group), 0, -1) if group % n == 0)


@triton.jit
def _load_steps(dt_ptr, a_ptr, rows, inside, head, H):
    """Step sizes and log decays of a chunk; past the end a step that changes nothing."""
    dt = tl.load(dt_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)
    return dt, dt * tl.load(a_ptr + head).to(tl.float32)


@triton.jit
def _between(g, TO: tl.constexpr, BLOCK_T: tl.constexpr):
    """L, the later step along axis ``TO``; each decay sums its own steps, or digits are lost."""
    steps = tl.arange(0, BLOCK_T)
    to, start = tl.expand_dims(steps, 1 - TO), tl.expand_dims(steps, TO)
    decay = tl.exp(tl.cumsum(tl.where(to > start, tl.expand_dims(g, 1 - TO), 0.0), axis=TO))
    return tl.where(to >= start, decay, 0.0)


@triton.jit
def _until(dt_ptr, a_ptr, rows, left, head, H, BLOCK_T: tl.constexpr):
    """From each step to the end of the chunk, which is ``left`` steps before its sequence's."""
    after = tl.arange(0, BLOCK_T) + 1
    _, g = _load_steps(dt_ptr, a_ptr, rows + 1, (after < left) & (after < BLOCK_T), head, H)
    return tl.exp(tl.cumsum(g, axis=0, reverse=True))


@triton.jit
def _after_chunk(
    state, x_ptr, dt_ptr, a_ptr, b_ptr, rows, left, head, group, first, H, P, G, N,
    BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The state behind a chunk from the one before it."""
    inside = tl.arange(0, BLOCK_T) < left
    dt, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
    until = _until(dt_ptr, a_ptr, rows, left, head, H, BLOCK_T)
    x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P, first)
    b = load_rows(b_ptr, rows, inside, group, G, N, BLOCK_N)
    kept = (x * (dt * until)[:, None]).to(x.dtype)
    return state * tl.exp(tl.sum(g, axis=0)) + tl.dot(tl.trans(b), kept, input_precision="ieee")


@triton.jit
def _scores(c_ptr, b_ptr, rows, inside, group, G, N, BLOCK_T: tl.constexpr):
    """Every row of c times every row of b, [BLOCK_T, BLOCK_T], some columns at a time."""
    scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    for first in tl.range(0, N, PART, disable_licm=True):
        c = load_rows(c_ptr, rows, inside, group, G, N, PART, first)
        b = load_rows(b_ptr, rows, inside, group, G, N, PART, first)
        scores += tl.dot(c, tl.trans(b), input_precision="ieee")
    return scores


@triton.jit
def _ssd_walk_kernel(
    x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, h0_ptr, cu_seqlens_ptr, o_ptr, last_ptr, starts_ptr,
    T, H, P, G, N,
    EVERY: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_P
    sequence, head = index // H, index % H
    group = head // (H // G)
    start, length = span(cu_seqlens_ptr, sequence, T)
    piece = first_chunk(cu_seqlens_ptr, sequence, T, EVERY * BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    state = tl.zeros((BLOCK_N, BLOCK_P), tl.float32)
    if h0_ptr is not None:
        state += load_state(h0_ptr, index, N, P, BLOCK_N, BLOCK_P, first)

    for done in range(0, length, BLOCK_T):
        rows, inside = start + done + steps, done + steps < length
        # one condition is known to the compiler, the other is not
        if starts_ptr is not None:  # noqa: SIM102
            if done % (EVERY * BLOCK_T) == 0:
                place = (piece + done // (EVERY * BLOCK_T)) * H + head
                store_state(starts_ptr, state, place, N, P, BLOCK_N, BLOCK_P, first)
        dt, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
        c = load_rows(c_ptr, rows, inside, group, G, N, BLOCK_N)
        if BLOCK_N <= 2 * PART:
            b = load_rows(b_ptr, rows, inside, group, G, N, BLOCK_N)
        x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P, first)
        o = tl.dot(c, state.to(c.dtype), input_precision="ieee")
        o *= tl.exp(tl.cumsum(g, axis=0))[:, None]
        if BLOCK_N <= 2 * PART:
            scores = tl.dot(c, tl.trans(b), input_precision="ieee")
        else:
            # c again and b, in parts: whole they take the registers of the state
            tl.debug_barrier()
            scores = _scores(c_ptr, b_ptr, rows, inside, group, G, N, BLOCK_T)
        scores *= _between(g, 0, BLOCK_T)
        write = (x * dt[:, None]).to(x.dtype)
        o += tl.dot(scores.to(x.dtype), write, input_precision="ieee")
        store_rows(o_ptr, o, rows, inside, head, H, P, BLOCK_P, first)
        # no load passes a barrier: b and x are loaded again rather than held for another product
        tl.debug_barrier()
        state = _after_chunk(
            state, x_ptr, dt_ptr, a_ptr, b_ptr, rows, length - done, head, group, first, H, P, G, N,
            BLOCK_T, BLOCK_P, BLOCK_N,
        )  # fmt: skip
    store_state(last_ptr, state, index, N, P, BLOCK_N, BLOCK_P, first)


@triton.jit
def _chunk_gradients(
    x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, states_ptr, d_o_ptr, ends_ptr,
    dx_ptr, d_dt_ptr, rows, left, place, head, group, H, P, G, N,
    BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Gradients of b and c by one chunk and head, and its part of da; stores dx and the gradient of dt."""
    steps = tl.arange(0, BLOCK_T)
    inside = steps < left
    dtype = x_ptr.dtype.element_ty
    dt, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)

    # from step to step; both ways round, for a dot with a transposed accumulator is miscompiled
    d_scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)  # [from, to]
    across = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)  # [to, from]
    for first in range(0, P, BLOCK_P):
        x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P, first)
        d_o = load_rows(d_o_ptr, rows, inside, head, H, P, BLOCK_P, first)
        d_scores += tl.dot(x, tl.trans(d_o), input_precision="ieee")
        across += tl.dot(d_o, tl.trans(x), input_precision="ieee")
    across = (across * dt[None, :] * _between(g, 0, BLOCK_T)).to(dtype)
    between = _between(g, 1, BLOCK_T)
    b = load_rows(b_ptr, rows, inside, group, G, N, BLOCK_N)
    c = load_rows(c_ptr, rows, inside, group, G, N, BLOCK_N)
    scores = tl.dot(b, tl.trans(c), input_precision="ieee") * between
    # dt[t] a scales every path over step t: from a step before it to one that is not
    paths = tl.cumsum(scores * d_scores * dt[:, None], axis=1, reverse=True)
    dg = tl.sum(tl.where(steps[:, None] < steps[None, :], paths, 0.0), axis=0)
    scores = scores.to(dtype)
    d_scores = (d_scores * between).to(dtype)

    tl.debug_barrier()
    until = _until(dt_ptr, a_ptr, rows, left, head, H, BLOCK_T)
    to_end = tl.zeros((BLOCK_T,), tl.float32)
    d_dt = tl.zeros((BLOCK_T,), tl.float32)
    through = 0.0
    b = load_rows(b_ptr, rows, inside, group, G, N, BLOCK_N)
    for first in range(0, P, BLOCK_P):
        end = load_state(ends_ptr, place, N, P, BLOCK_N, BLOCK_P, first)
        through += tl.sum(end * load_state(states_ptr, place, N, P, BLOCK_N, BLOCK_P, first))
        x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P, first)
        d_o = load_rows(d_o_ptr, rows, inside, head, H, P, BLOCK_P, first)
        d_write = tl.dot(b, end.to(dtype), input_precision="ieee") * until[:, None]
        to_end += tl.sum(x * d_write, axis=1)
        d_write += tl.dot(scores, d_o, input_precision="ieee")
        d_dt += tl.sum(x * d_write, axis=1)
        store_rows(dx_ptr, d_write * dt[:, None], rows, inside, head, H, P, BLOCK_P, first)
    dg += tl.sum(tl.where(steps[:, None] < steps[None, :], (to_end * dt)[:, None], 0.0), axis=0)

    tl.debug_barrier()
    db = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    dc = tl.zeros((BLOCK_T, BLOCK_N), tl.float32)
    for first in range(0, P, BLOCK_P):
        end = load_state_transposed(ends_ptr, place, N, P, BLOCK_N, BLOCK_P, first)
        state = load_state_transposed(states_ptr, place, N, P, BLOCK_N, BLOCK_P, first)
        x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P, first)
        d_o = load_rows(d_o_ptr, rows, inside, head, H, P, BLOCK_P, first)
        db += tl.dot(x, end.to(dtype), input_precision="ieee")
        dc += tl.dot(d_o, state.to(dtype), input_precision="ieee")
    c = load_rows(c_ptr, rows, inside, group, G, N, BLOCK_N)
    b = load_rows(b_ptr, rows, inside, group, G, N, BLOCK_N)
    dc *= tl.exp(tl.cumsum(g, axis=0))[:, None]
    from_start = tl.sum(dc * c, axis=1)
    dc += tl.dot(across, b, input_precision="ieee")
    db = db * until[:, None] + tl.dot(d_scores, c, input_precision="ieee")
    db *= dt[:, None]

    dg += tl.cumsum(from_start, axis=0, reverse=True)
    dg += through * tl.exp(tl.sum(g, axis=0))
    d_dt += dg * tl.load(a_ptr + head).to(tl.float32)
    tl.store(d_dt_ptr + rows * H + head, d_dt.to(d_dt_ptr.dtype.element_ty), mask=inside)
    return db, dc, tl.sum(tl.where(inside, dg * dt, 0.0), axis=0)


@triton.jit
def _add_up(
    x_ptr, x, sum_ptr, rows, inside, part, parts, places, there, number, N,
    HEADS: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Add x to what earlier heads left in ``sum_ptr``; the last one writes the sum to ``x_ptr``."""
    if number > 0:
        x += load_rows(sum_ptr, places, there, 0, 1, N, BLOCK_N)
    if number == HEADS - 1:
        store_rows(x_ptr, x, rows, inside, part, parts, N, BLOCK_N)
    else:
        store_rows(sum_ptr, x, places, there, 0, 1, N, BLOCK_N)


@triton.jit
def _ssd_pieces_kernel(
    x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, starts_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    states_ptr, ends_ptr, end_ptr, b_sums_ptr, c_sums_ptr,
    dx_ptr, d_dt_ptr, da_ptr, db_ptr, dc_ptr, dh0_ptr,
    T, H, P, G, N,
    HEADS: tl.constexpr, EVERY: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr,
    BLOCK_N: tl.constexpr,
):  # fmt: skip
    index, parts = tl.program_id(0), H // HEADS
    sequence, part = index // parts, index % parts
    group = part * HEADS // (H // G)
    start, length = span(cu_seqlens_ptr, sequence, T)
    size: tl.constexpr = EVERY * BLOCK_T
    piece = first_chunk(cu_seqlens_ptr, sequence, T, size)
    steps = tl.arange(0, BLOCK_T)
    # an empty sequence hands the gradient of its state on
    pieces = tl.maximum(tl.cdiv(length, size), 1)
    # the last turn is only to hand the gradient of the state on
    for turn in range(pieces * HEADS):
        head, nth = part * HEADS + turn % HEADS, pieces - 1 - turn // HEADS
        here, left = start + nth * size, tl.minimum(length - nth * size, size)
        chunks = tl.cdiv(left, BLOCK_T)
        at = (piece + nth) * H + head
        # what one thread wrote others read: the threads of the program meet in between
        tl.debug_barrier()
        for first in range(0, P, BLOCK_P):
            state = load_state(starts_ptr, at, N, P, BLOCK_N, BLOCK_P, first)
            for i in range(chunks):
                place = index * EVERY + i
                store_state(states_ptr, state, place, N, P, BLOCK_N, BLOCK_P, first)
                done = i * BLOCK_T
                state = _after_chunk(
                    state, x_ptr, dt_ptr, a_ptr, b_ptr, here + done + steps, left - done,
                    head, group, first, H, P, G, N, BLOCK_T, BLOCK_P, BLOCK_N,
                )  # fmt: skip

            place = sequence * H + head
            end = tl.zeros((BLOCK_N, BLOCK_P), tl.float32)
            if turn >= HEADS:
                end += load_state(end_ptr, place, N, P, BLOCK_N, BLOCK_P, first)
            elif d_last_ptr is not None:
                end += load_state(d_last_ptr, place, N, P, BLOCK_N, BLOCK_P, first)
            for i in range(chunks):
                done = (chunks - 1 - i) * BLOCK_T
                rows, inside = here + done + steps, done + steps < left
                kept = index * EVERY + chunks - 1 - i
                store_state(ends_ptr, end, kept, N, P, BLOCK_N, BLOCK_P, first)
                _, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
                c = load_rows(c_ptr, rows, inside, group, G, N, BLOCK_N)
                d_o = load_rows(d_o_ptr, rows, inside, head, H, P, BLOCK_P, first)
                read = (d_o * tl.exp(tl.cumsum(g, axis=0))[:, None]).to(c.dtype)
                end = end * tl.exp(tl.sum(g, axis=0))
                end += tl.dot(tl.trans(c), read, input_precision="ieee")
            store_state(end_ptr, end, place, N, P, BLOCK_N, BLOCK_P, first)
            if dh0_ptr is not None:  # noqa: SIM102
                if nth == 0:
                    store_state(dh0_ptr, end, place, N, P, BLOCK_N, BLOCK_P, first)

        tl.debug_barrier()
        da = 0.0
        for i in range(chunks):
            done = i * BLOCK_T
            rows, inside = here + done + steps, done + steps < left
            db, dc, more = _chunk_gradients(
                x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, states_ptr, d_o_ptr, ends_ptr,
                dx_ptr, d_dt_ptr, rows, left - done, index * EVERY + i, head, group, H, P, G, N,
                BLOCK_T, BLOCK_P, BLOCK_N,
            )  # fmt: skip
            da += more
            number, places = turn % HEADS, index.to(tl.int64) * size + done + steps
            _add_up(
                db_ptr, db, b_sums_ptr, rows, inside, part, parts, places, inside, number, N,
                HEADS, BLOCK_N,
            )  # fmt: skip
            _add_up(
                dc_ptr, dc, c_sums_ptr, rows, inside, part, parts, places, inside, number, N,
                HEADS, BLOCK_N,
            )  # fmt: skip
        tl.store(da_ptr + at, da)
