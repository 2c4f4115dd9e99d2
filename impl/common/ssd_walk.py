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
    load_tile,
    span,
    store_rows,
    store_state,
    store_tile,
)

WIDEST = 256
"""Largest N and P."""
COLUMNS, STATE = 64, 128 * 64
"""Columns and numbers of the state a program walks: 128 x 64 in float32 are 32 registers a thread."""
PART: tl.constexpr = tl.constexpr(32)
"""Columns of b and c to a product of their rows."""
BACK, TILE = 64, 32
"""Steps of a chunk and rows of the state that gradients take at a time, and columns: more spills."""
NARROW = 16
"""All of these in float32."""


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
        steps = BACK if x.dtype.itemsize == 2 and kept % BACK == 0 else NARROW
        meta = ctx.meta | {"BLOCK_T": steps, "EVERY": kept // steps, "TILE": min(steps, TILE)}
        meta["BLOCK_N"] = min(meta["BLOCK_N"], steps)
        del meta["BLOCK_P"]
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
    state, x_ptr, dt_ptr, a_ptr, b_ptr, rows, left, head, group, n, first, H, P, G, N,
    BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The state behind a chunk from the one before it, rows from ``n`` and columns from ``first``."""
    inside = tl.arange(0, BLOCK_T) < left
    dt, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
    until = _until(dt_ptr, a_ptr, rows, left, head, H, BLOCK_T)
    x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P, first)
    b = load_rows(b_ptr, rows, inside, group, G, N, BLOCK_N, n)
    kept = (x * (dt * until)[:, None]).to(x.dtype)
    return state * tl.exp(tl.sum(g, axis=0)) + tl.dot(tl.trans(b), kept, input_precision="ieee")


@triton.jit
def _products(
    x_ptr, y_ptr, rows, inside, head, H, X, BLOCK_T: tl.constexpr, BLOCK_X: tl.constexpr
):  # fmt: skip
    """Every row of x times every row of y, [BLOCK_T, BLOCK_T], some columns at a time."""
    products = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    for first in tl.range(0, X, BLOCK_X, disable_licm=True):
        x = load_rows(x_ptr, rows, inside, head, H, X, BLOCK_X, first)
        y = load_rows(y_ptr, rows, inside, head, H, X, BLOCK_X, first)
        products += tl.dot(x, tl.trans(y), input_precision="ieee")
    return products


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

    for done in tl.range(0, length, BLOCK_T, disable_licm=True):
        rows, inside = start + done + steps, done + steps < length
        # one condition is known to the compiler, the other is not
        if starts_ptr is not None:  # noqa: SIM102
            if done % (EVERY * BLOCK_T) == 0:
                place = (piece + done // (EVERY * BLOCK_T)) * H + head
                store_state(starts_ptr, state, place, N, P, BLOCK_N, BLOCK_P, first)
        dt, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
        c = load_rows(c_ptr, rows, inside, group, G, N, BLOCK_N)
        o = tl.dot(c, state.to(c.dtype), input_precision="ieee")
        o *= tl.exp(tl.cumsum(g, axis=0))[:, None]
        # c again and b, in parts: whole they take the registers of the state
        tl.debug_barrier()
        scores = _products(c_ptr, b_ptr, rows, inside, group, G, N, BLOCK_T, PART)
        scores *= _between(g, 0, BLOCK_T)
        x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P, first)
        write = (x * dt[:, None]).to(x.dtype)
        o += tl.dot(scores.to(x.dtype), write, input_precision="ieee")
        store_rows(o_ptr, o, rows, inside, head, H, P, BLOCK_P, first)
        # no load passes a barrier: b and x are loaded again rather than held for another product
        tl.debug_barrier()
        state = _after_chunk(
            state, x_ptr, dt_ptr, a_ptr, b_ptr, rows, length - done, head, group, 0, first, H, P, G, N,
            BLOCK_T, BLOCK_P, BLOCK_N,
        )  # fmt: skip
    store_state(last_ptr, state, index, N, P, BLOCK_N, BLOCK_P, first)


@triton.jit
def _store_states(
    x_ptr, dt_ptr, a_ptr, b_ptr, starts_ptr, states_ptr,
    here, left, at, place, head, group, n, first, H, P, G, N,
    BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The state before each chunk of the piece of ``left`` steps at row ``here`` from start ``at``."""
    state = load_tile(starts_ptr, at, N, P, BLOCK_N, BLOCK_P, n, first).to(tl.float32)
    for done in tl.range(0, left, BLOCK_T, disable_licm=True):
        store_tile(states_ptr, state, place + done // BLOCK_T, N, P, BLOCK_N, BLOCK_P, n, first)
        state = _after_chunk(
            state, x_ptr, dt_ptr, a_ptr, b_ptr, here + done + tl.arange(0, BLOCK_T), left - done,
            head, group, n, first, H, P, G, N, BLOCK_T, BLOCK_P, BLOCK_N,
        )  # fmt: skip


@triton.jit
def _store_ends(
    end, dt_ptr, a_ptr, c_ptr, d_o_ptr, ends_ptr,
    here, left, place, head, group, n, first, H, P, G, N,
    BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The G behind each chunk of the piece from the one behind the piece; returns the one before it."""
    chunks = tl.cdiv(left, BLOCK_T)
    for i in tl.range(chunks, disable_licm=True):
        number = chunks - 1 - i
        steps = number * BLOCK_T + tl.arange(0, BLOCK_T)
        rows, inside = here + steps, steps < left
        store_tile(ends_ptr, end, place + number, N, P, BLOCK_N, BLOCK_P, n, first)
        _, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
        c = load_rows(c_ptr, rows, inside, group, G, N, BLOCK_N, n)
        d_o = load_rows(d_o_ptr, rows, inside, head, H, P, BLOCK_P, first)
        read = (d_o * tl.exp(tl.cumsum(g, axis=0))[:, None]).to(c.dtype)
        end = end * tl.exp(tl.sum(g, axis=0))
        end += tl.dot(tl.trans(c), read, input_precision="ieee")
    return end


@triton.jit
def _readout_gradients(
    x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, states_ptr, d_o_ptr, dc_ptr, sum_ptr,
    rows, inside, place, places, number, head, part, parts, group, H, P, G, N,
    HEADS: tl.constexpr, BLOCK_T: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """dC; returns the weights of paths that end in the chunk: over each step, and from it before dt."""
    steps = tl.arange(0, BLOCK_T)
    dt, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
    across = _products(d_o_ptr, x_ptr, rows, inside, head, H, P, BLOCK_T, TILE)  # [to, from]
    across *= _between(g, 0, BLOCK_T)
    paths = across * _products(c_ptr, b_ptr, rows, inside, group, G, N, BLOCK_T, TILE)
    written = tl.sum(paths, axis=0)
    # from a step before it to one that is not
    paths = tl.cumsum(paths * dt[None, :], axis=0, reverse=True)
    dg = tl.sum(tl.where(steps[:, None] > steps[None, :], paths, 0.0), axis=1)
    across = (across * dt[None, :]).to(x_ptr.dtype.element_ty)
    from_start = tl.zeros((BLOCK_T,), tl.float32)
    for n in tl.range(0, N, TILE, disable_licm=True):
        dc = _from_state(
            d_o_ptr, states_ptr, place, rows, inside, head, n, H, P, N, BLOCK_T, TILE
        )  # fmt: skip
        dc *= tl.exp(tl.cumsum(g, axis=0))[:, None]
        c = load_rows(c_ptr, rows, inside, group, G, N, TILE, n)
        from_start += tl.sum(dc * c, axis=1)
        b = load_rows(b_ptr, rows, inside, group, G, N, TILE, n)
        dc += tl.dot(across, b, input_precision="ieee")
        _add_up(
            dc_ptr, dc, sum_ptr, rows, inside, part, parts, places, number, n, N, HEADS, TILE
        )  # fmt: skip
    return dg + tl.cumsum(from_start, axis=0, reverse=True), written


@triton.jit
def _write_gradients(
    x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, d_o_ptr, ends_ptr, db_ptr, sum_ptr,
    rows, left, place, places, number, head, part, parts, group, H, P, G, N,
    HEADS: tl.constexpr, BLOCK_T: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """dB; returns the weights of paths from each step to the end of the chunk, before dt."""
    inside = tl.arange(0, BLOCK_T) < left
    dt, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
    scores = _products(x_ptr, d_o_ptr, rows, inside, head, H, P, BLOCK_T, TILE)  # [from, to]
    scores = (scores * _between(g, 1, BLOCK_T)).to(x_ptr.dtype.element_ty)
    until = _until(dt_ptr, a_ptr, rows, left, head, H, BLOCK_T)
    to_end = tl.zeros((BLOCK_T,), tl.float32)
    for n in tl.range(0, N, TILE, disable_licm=True):
        db = _from_state(
            x_ptr, ends_ptr, place, rows, inside, head, n, H, P, N, BLOCK_T, TILE
        )  # fmt: skip
        db *= until[:, None]
        b = load_rows(b_ptr, rows, inside, group, G, N, TILE, n)
        to_end += tl.sum(db * b, axis=1)
        c = load_rows(c_ptr, rows, inside, group, G, N, TILE, n)
        db += tl.dot(scores, c, input_precision="ieee")
        _add_up(
            db_ptr, db * dt[:, None], sum_ptr,
            rows, inside, part, parts, places, number, n, N, HEADS, TILE,
        )  # fmt: skip
    return to_end


@triton.jit
def _from_state(
    x_ptr, s_ptr, place, rows, inside, head, n, H, P, N,
    BLOCK_T: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Rows of x times the rows of a state from ``n``, [BLOCK_T, TILE]."""
    product = tl.zeros((BLOCK_T, TILE), tl.float32)
    for first in tl.range(0, P, TILE, disable_licm=True):
        x = load_rows(x_ptr, rows, inside, head, H, P, TILE, first)
        state = load_tile(s_ptr, place, N, P, TILE, TILE, n, first)
        product += tl.dot(x, tl.trans(state), input_precision="ieee")
    return product


@triton.jit
def _input_gradients(
    dt_ptr, a_ptr, b_ptr, c_ptr, states_ptr, d_o_ptr, ends_ptr, dx_ptr,
    rows, left, place, head, group, H, P, G, N,
    BLOCK_T: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Stores dx; returns the weight of the path from the state before the chunk to that behind it."""
    inside = tl.arange(0, BLOCK_T) < left
    dt, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
    # again, not transposed: a dot with a transposed accumulator is miscompiled
    scores = _products(b_ptr, c_ptr, rows, inside, group, G, N, BLOCK_T, TILE)  # [from, to]
    scores = (scores * _between(g, 1, BLOCK_T)).to(d_o_ptr.dtype.element_ty)
    until = _until(dt_ptr, a_ptr, rows, left, head, H, BLOCK_T)
    through = tl.zeros((TILE,), tl.float32)
    for first in tl.range(0, P, TILE, disable_licm=True):
        dx = tl.zeros((BLOCK_T, TILE), tl.float32)
        for n in tl.range(0, N, TILE, disable_licm=True):
            b = load_rows(b_ptr, rows, inside, group, G, N, TILE, n)
            end = load_tile(ends_ptr, place, N, P, TILE, TILE, n, first)
            dx += tl.dot(b, end, input_precision="ieee")
            state = load_tile(states_ptr, place, N, P, TILE, TILE, n, first).to(tl.float32)
            through += tl.sum(state * end, axis=0)
        dx *= until[:, None]
        d_o = load_rows(d_o_ptr, rows, inside, head, H, P, TILE, first)
        dx += tl.dot(scores, d_o, input_precision="ieee")
        store_rows(dx_ptr, dx * dt[:, None], rows, inside, head, H, P, TILE, first)
    return tl.sum(through, axis=0) * tl.exp(tl.sum(g, axis=0))


@triton.jit
def _add_up(
    x_ptr, x, sum_ptr, rows, inside, part, parts, places, number, n, N,
    HEADS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Add x, columns from ``n``, to what earlier heads left; the last writes the sum to ``x_ptr``."""
    if number > 0:
        x += load_rows(sum_ptr, places, inside, 0, 1, N, TILE, n)
    if number == HEADS - 1:
        store_rows(x_ptr, x, rows, inside, part, parts, N, TILE, n)
    else:
        store_rows(sum_ptr, x, places, inside, 0, 1, N, TILE, n)


@triton.jit
def _ssd_pieces_kernel(
    x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, starts_ptr, d_o_ptr, d_last_ptr, cu_seqlens_ptr,
    states_ptr, ends_ptr, end_ptr, b_sums_ptr, c_sums_ptr,
    dx_ptr, d_dt_ptr, da_ptr, db_ptr, dc_ptr, dh0_ptr,
    T, H, P, G, N,
    HEADS: tl.constexpr, EVERY: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_N: tl.constexpr,
    TILE: tl.constexpr,
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
    for turn in tl.range(pieces * HEADS, disable_licm=True):
        head, nth = part * HEADS + turn % HEADS, pieces - 1 - turn // HEADS
        here, left = start + nth * size, tl.minimum(length - nth * size, size)
        chunks = tl.cdiv(left, BLOCK_T)
        at = (piece + nth) * H + head
        # what one thread wrote others read: the threads of the program meet in between
        tl.debug_barrier()
        for n in tl.range(0, N, BLOCK_N, disable_licm=True):
            for first in tl.range(0, P, TILE, disable_licm=True):
                _store_states(
                    x_ptr, dt_ptr, a_ptr, b_ptr, starts_ptr, states_ptr,
                    here, left, at, index * EVERY, head, group, n, first, H, P, G, N,
                    BLOCK_T, TILE, BLOCK_N,
                )  # fmt: skip
                end = tl.zeros((BLOCK_N, TILE), tl.float32)
                place = sequence * H + head
                if turn >= HEADS:
                    end += load_tile(end_ptr, place, N, P, BLOCK_N, TILE, n, first)
                elif d_last_ptr is not None:
                    end += load_tile(d_last_ptr, place, N, P, BLOCK_N, TILE, n, first)
                end = _store_ends(
                    end, dt_ptr, a_ptr, c_ptr, d_o_ptr, ends_ptr,
                    here, left, index * EVERY, head, group, n, first, H, P, G, N,
                    BLOCK_T, TILE, BLOCK_N,
                )  # fmt: skip
                store_tile(end_ptr, end, place, N, P, BLOCK_N, TILE, n, first)
                if dh0_ptr is not None:  # noqa: SIM102
                    if nth == 0:
                        store_tile(dh0_ptr, end, place, N, P, BLOCK_N, TILE, n, first)

        tl.debug_barrier()
        da = 0.0
        number = turn % HEADS
        for i in tl.range(chunks, disable_licm=True):
            done = i * BLOCK_T
            rows, inside = here + done + steps, done + steps < left
            places = index.to(tl.int64) * size + done + steps
            dg, written = _readout_gradients(
                x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, states_ptr, d_o_ptr, dc_ptr, c_sums_ptr,
                rows, inside, index * EVERY + i, places, number, head, part, parts, group,
                H, P, G, N, HEADS, BLOCK_T, TILE,
            )  # fmt: skip
            tl.debug_barrier()
            to_end = _write_gradients(
                x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, d_o_ptr, ends_ptr, db_ptr, b_sums_ptr,
                rows, left - done, index * EVERY + i, places, number, head, part, parts, group,
                H, P, G, N, HEADS, BLOCK_T, TILE,
            )  # fmt: skip
            tl.debug_barrier()
            dg += _input_gradients(
                dt_ptr, a_ptr, b_ptr, c_ptr, states_ptr, d_o_ptr, ends_ptr, dx_ptr,
                rows, left - done, index * EVERY + i, head, group, H, P, G, N, BLOCK_T, TILE,
            )  # fmt: skip
            dt, _ = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
            before = steps[:, None] > steps[None, :]
            dg += tl.sum(tl.where(before, (to_end * dt)[None, :], 0.0), axis=1)
            da += tl.sum(tl.where(inside, dg * dt, 0.0), axis=0)
            d_dt = written + to_end + dg * tl.load(a_ptr + head).to(tl.float32)
            tl.store(d_dt_ptr + rows * H + head, d_dt.to(d_dt_ptr.dtype.element_ty), mask=inside)
        tl.store(da_ptr + at, da)
