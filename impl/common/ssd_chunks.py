# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
"""SSD with its states in HBM: the state before every chunk first, then each chunk on its own.

With L[i, j] = exp(dt[j+1] a + ... + dt[i] a) for i >= j, from[i] and to[j] its columns before the
first step and its row of the last:

    states    S_n = from[last] S_(n-1) + B^T (to dt X)            chunk after chunk
    chain     O = (C B^T * L dt) X + from C S_(n-1)               a program a chunk and head

Either part may be cut further. The chain in stages writes C B^T (float32, once a group, whose heads
share it) and P = C B^T * L dt, and reads both again. States that are passed on are first written as
each chunk alone would have them, read by a second kernel and written as sums. Every value is
rounded where it is rounded in the uncut forms, but for a passed state. A state wider than 128 x 128 is
taken some columns at a time: by a program each where it is walked, which asks for B anew, and in turn
in the chain.

Backwards the states kernel runs from the right on C and dO and leaves G_n, the gradient of S_n.
Then, with D = dO, each gradient is a chain of its own, for every chunk at once:

    dC = (D X^T * L dt) B + from D S^T
    dB = dt ((X D^T * L^T) C + to X G^T)
    dX = dt ((B C^T * L^T) D + to B G)

The gradient of dt[t] a is that of every path over step t, each found where it runs: the last of
these kernels has those inside the chunk, the others leave those across its edges.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from impl.common.sequences import (
    block,
    chunk_count,
    chunk_of,
    first_chunk,
    load_rows,
    load_state,
    span,
    store_rows,
    store_state,
)

WIDEST = 256
"""Largest N and P."""

COLUMNS, STATE = 128, 128 * 128
"""Columns and numbers of a state at a time: 128 x 128 in float32 are 64 registers a thread."""

SLICE = 1024
"""Numbers of a state that one program passes on."""


def ssd_in_chunks(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h0: Tensor | None,
    cu_seqlens: Tensor | None, sizes: dict[str, int], chunk: int,
    *, staged: bool = False, passed: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``o`` and ``S[T]`` of SSD; ``staged`` cuts the chain, ``passed`` the walk over the states."""
    return _Chunks.apply(x, dt, a, b, c, h0, cu_seqlens, sizes, chunk, staged, passed)  # pyright: ignore[reportReturnType]


class _Chunks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x, dt, a, b, c, h0, cu_seqlens, sizes: dict[str, int], chunk, staged, passed
    ):
        x, dt, a, b, c = (each.contiguous() for each in (x, dt, a, b, c))
        h0 = None if h0 is None else h0.contiguous()
        ctx.sizes, ctx.options = sizes, _options(sizes, chunk, x.dtype)
        chunks = chunk_count(sizes, chunk, cu_seqlens)
        ctx.search = {"S": sizes["S"], "BLOCK_S": block(sizes["S"])}
        last = x.new_empty(*(sizes[axis] for axis in "SHNP"))
        states = x.new_empty(chunks, *last.shape[1:])
        walk = _pass_states if passed else _walk_states
        walk(ctx, x, dt, a, b, h0, cu_seqlens, states, last)

        o = torch.empty_like(x)
        chain = _chain_in_stages if staged else _chain
        chain(ctx, x, dt, a, b, c, cu_seqlens, states, o)
        ctx.save_for_backward(x, dt, a, b, c, h0, cu_seqlens, states)
        ctx.set_materialize_grads(False)
        return o, last

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None):
        x, dt, a, b, c, h0, cu_seqlens, states = ctx.saved_tensors
        d_o = torch.zeros_like(x) if grads[0] is None else grads[0].contiguous()
        d_last = None if grads[1] is None else grads[1].contiguous()
        dh0 = None if h0 is None else torch.empty_like(h0)
        sizes, ends = ctx.sizes, torch.empty_like(states)
        _states_kernel[_each_state(ctx)](
            dt, a, c, d_o, d_last, cu_seqlens, ends, dh0, REVERSE=True, **ctx.options
        )
        wide = {"dtype": torch.float32, "device": x.device}
        db, dc = (torch.empty(*x.shape[:3], sizes["N"], **wide) for _ in range(2))
        from_start, to_end = (torch.empty(dt.shape, **wide) for _ in range(2))
        arms = _arms(ctx, "HGPN")
        _chain_kernel[states.shape[:2]](
            d_o, x, b, c, dt, a, states, cu_seqlens, dc, from_start, REVERSE=False, **arms
        )
        _chain_kernel[states.shape[:2]](
            x, d_o, c, b, dt, a, ends, cu_seqlens, db, to_end, REVERSE=True, **arms
        )
        dx, d_dt = torch.empty_like(x), torch.empty_like(dt)
        da = torch.empty(states.shape[:2], **wide)
        _input_gradients_kernel[states.shape[:2]](
            x, dt, a, b, c, states, ends, d_o, from_start, to_end, cu_seqlens, dx, d_dt, da,
            **ctx.search, **{**ctx.options, "num_warps": 8},
        )  # fmt: skip
        db, dc = (each.unflatten(2, (sizes["G"], -1)).sum(3).to(b.dtype) for each in (db, dc))
        return dx, d_dt, da.sum(0).to(a.dtype), db, dc, dh0, *(None,) * 5


def _options(sizes: dict[str, int], chunk: int, dtype: torch.dtype) -> dict[str, int]:
    """Size arguments and launch options that the kernels share."""
    options = {axis: sizes[axis] for axis in "THPGN"} | {"BLOCK_T": chunk}
    options |= _tiles(sizes["N"], sizes["P"], "N", "P")
    options["num_warps"] = 8 if options["BLOCK_P"] * options["BLOCK_N"] > 4096 else 4
    # shared memory holds the next chunk beside this one in half precision only
    options["num_stages"] = 2 if dtype.itemsize == 2 else 1
    if dtype.itemsize > 2:
        # unless told how many registers there are, ptxas leaves most of them, and spills
        options["maxnreg"] = 255
    return options


def _tiles(rows: int, columns: int, *axes: str) -> dict[str, int]:
    """All rows of a state and as many columns as fit beside them."""
    tile = min(block(columns), COLUMNS, STATE // block(rows))
    return {f"BLOCK_{axes[0]}": block(rows), f"BLOCK_{axes[1]}": tile}


def _walk_states(ctx: Any, x, dt, a, b, h0, cu_seqlens, states: Tensor, last: Tensor) -> None:
    _states_kernel[_each_state(ctx)](
        dt, a, b, x, h0, cu_seqlens, states, last, REVERSE=False, **ctx.options
    )


def _each_state(ctx: Any) -> tuple[int, int]:
    """A program a sequence, head and tile of columns of the state."""
    sizes = ctx.sizes
    return sizes["S"] * sizes["H"], triton.cdiv(sizes["P"], ctx.options["BLOCK_P"])


def _pass_states(ctx: Any, x, dt, a, b, h0, cu_seqlens, states: Tensor, last: Tensor) -> None:
    sizes, fresh = ctx.sizes, torch.empty_like(states)
    _fresh_states_kernel[(len(states), sizes["H"], _each_state(ctx)[1])](
        x, dt, a, b, cu_seqlens, fresh, **ctx.search, **ctx.options
    )
    numbers = sizes["N"] * sizes["P"]
    _passed_states_kernel[(sizes["S"] * sizes["H"], triton.cdiv(numbers, SLICE))](
        dt, a, fresh, h0, cu_seqlens, states, last,
        sizes["T"], sizes["H"], numbers, BLOCK_T=ctx.options["BLOCK_T"], BLOCK=SLICE,
    )  # fmt: skip


def _chain(ctx: Any, x, dt, a, b, c, cu_seqlens, states: Tensor, o: Tensor) -> None:
    _chain_kernel[states.shape[:2]](
        c, b, x, None, dt, a, states, cu_seqlens, o, None, REVERSE=False, **_arms(ctx, "GHNP")
    )


def _arms(ctx: Any, axes: str) -> dict[str, int]:
    """Options of a chain: the heads and widths of what it multiplies first, and of what last."""
    other = {*"PGN", "BLOCK_P", "BLOCK_N"}
    options = {name: value for name, value in ctx.options.items() if name not in other}
    options |= {name: ctx.sizes[axis] for name, axis in zip("LRKV", axes, strict=True)}
    return ctx.search | options | _tiles(options["K"], options["V"], "K", "V")


def _chain_in_stages(ctx: Any, x, dt, a, b, c, cu_seqlens, states: Tensor, o: Tensor) -> None:
    sizes, size = ctx.sizes, ctx.options["BLOCK_T"]
    each = {**ctx.search, **ctx.options}
    shape = (len(states), sizes["G"], size, size)
    scores = torch.empty(shape, dtype=torch.float32, device=x.device)
    _scores_kernel[shape[:2]](b, c, cu_seqlens, scores, **each)
    weights = x.new_empty(len(states), sizes["H"], size, size)
    _weights_kernel[weights.shape[:2]](dt, a, scores, cu_seqlens, weights, **each)
    _outputs_kernel[weights.shape[:2]](x, dt, a, c, states, weights, cu_seqlens, o, **each)


@triton.jit
def _add(x, y):
    return x + y


@triton.jit
def _load_steps(dt_ptr, a_ptr, rows, inside, head, H):
    """Step sizes and log decays of a chunk; past the end a step that changes nothing."""
    dt = tl.load(dt_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)
    return dt, dt * tl.load(a_ptr + head).to(tl.float32)


@triton.jit
def _decay_between(g, BLOCK_T: tl.constexpr):
    """L [to, from], zero above the diagonal; each decay sums its own steps, or digits are lost."""
    steps = tl.arange(0, BLOCK_T)
    over = tl.where(steps[:, None] > steps[None, :], g[:, None], 0.0)
    decay = tl.exp(tl.associative_scan(over, 0, _add))
    return tl.where(steps[:, None] >= steps[None, :], decay, 0.0)


@triton.jit
def _decay_until(dt_ptr, a_ptr, rows, left, head, H, BLOCK_T: tl.constexpr):
    """From each step to the end of the chunk, which is ``left`` steps before its sequence's."""
    after = tl.arange(0, BLOCK_T) + 1
    _, g = _load_steps(dt_ptr, a_ptr, rows + 1, (after < left) & (after < BLOCK_T), head, H)
    return tl.exp(tl.associative_scan(g, 0, _add, reverse=True))


@triton.jit
def _states_kernel(
    dt_ptr, a_ptr, left_ptr, right_ptr, start_ptr, cu_seqlens_ptr, states_ptr, end_ptr,
    T, H, P, G, N,
    BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    index, first = tl.program_id(0), tl.program_id(1) * BLOCK_P
    sequence, head = index // H, index % H
    start, length = span(cu_seqlens_ptr, sequence, T)
    chunk = first_chunk(cu_seqlens_ptr, sequence, T, BLOCK_T)
    state = tl.zeros((BLOCK_N, BLOCK_P), tl.float32)
    if start_ptr is not None:
        state += load_state(start_ptr, index, N, P, BLOCK_N, BLOCK_P, first)

    chunks = tl.cdiv(length, BLOCK_T)
    for i in range(chunks):
        number = chunks - 1 - i if REVERSE else i
        store_state(states_ptr, state, (chunk + number) * H + head, N, P, BLOCK_N, BLOCK_P, first)
        done = number * BLOCK_T
        rows = start + done + tl.arange(0, BLOCK_T)
        inside = rows < start + length
        dt, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
        left = load_rows(left_ptr, rows, inside, head // (H // G), G, N, BLOCK_N)
        right = load_rows(right_ptr, rows, inside, head, H, P, BLOCK_P, first)
        if REVERSE:
            weight = tl.exp(tl.associative_scan(g, 0, _add))
        else:
            weight = dt * _decay_until(dt_ptr, a_ptr, rows, length - done, head, H, BLOCK_T)
        right = (right * weight[:, None]).to(right.dtype)
        state *= tl.exp(tl.sum(g, axis=0))
        state += tl.dot(tl.trans(left), right, input_precision="ieee")
    if end_ptr is not None:
        store_state(end_ptr, state, index, N, P, BLOCK_N, BLOCK_P, first)


@triton.jit
def _fresh_states_kernel(
    x_ptr, dt_ptr, a_ptr, b_ptr, cu_seqlens_ptr, fresh_ptr,
    S, T, H, P, G, N,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    chunk, head, column = tl.program_id(0), tl.program_id(1), tl.program_id(2) * BLOCK_P
    first, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    rows, inside = first + steps, steps < left
    dt, _ = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
    x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P, column)
    b = load_rows(b_ptr, rows, inside, head // (H // G), G, N, BLOCK_N)
    until = _decay_until(dt_ptr, a_ptr, rows, left, head, H, BLOCK_T)
    kept = (x * (dt * until)[:, None]).to(x.dtype)
    fresh = tl.dot(tl.trans(b), kept, input_precision="ieee")
    store_state(fresh_ptr, fresh, chunk * H + head, N, P, BLOCK_N, BLOCK_P, column)


@triton.jit
def _passed_states_kernel(
    dt_ptr, a_ptr, fresh_ptr, h0_ptr, cu_seqlens_ptr, states_ptr, last_ptr,
    T, H, numbers,
    BLOCK_T: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0)
    sequence, head = index // H, index % H
    start, length = span(cu_seqlens_ptr, sequence, T)
    chunk = first_chunk(cu_seqlens_ptr, sequence, T, BLOCK_T)
    slot = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = slot < numbers
    own = index.to(tl.int64) * numbers + slot
    state = tl.zeros((BLOCK,), tl.float32)
    if h0_ptr is not None:
        state += tl.load(h0_ptr + own, mask=mask, other=0.0).to(tl.float32)

    for done in range(0, length, BLOCK_T):
        at = ((chunk + done // BLOCK_T) * H + head).to(tl.int64) * numbers + slot
        tl.store(states_ptr + at, state.to(states_ptr.dtype.element_ty), mask=mask)
        steps = done + tl.arange(0, BLOCK_T)
        _, g = _load_steps(dt_ptr, a_ptr, start + steps, steps < length, head, H)
        state *= tl.exp(tl.sum(g, axis=0))
        state += tl.load(fresh_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(last_ptr + own, state.to(last_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _load_transposed(s_ptr, index, first, N, P, BLOCK_N: tl.constexpr, BLOCK_P: tl.constexpr):
    """Rows from ``first`` of state ``index`` in float32, its axes exchanged; zero past the edges."""
    n, p = first + tl.arange(0, BLOCK_N)[None, :], tl.arange(0, BLOCK_P)[:, None]
    at = (index.to(tl.int64) * N + n) * P + p  # [BLOCK_P, BLOCK_N]
    return tl.load(s_ptr + at, mask=(n < N) & (p < P), other=0.0).to(tl.float32)


@triton.jit
def _chain_kernel(
    left_ptr, other_ptr, right_ptr, own_ptr, dt_ptr, a_ptr, states_ptr, cu_seqlens_ptr,
    o_ptr, edge_ptr,
    S, T, H, L, R, K, V,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    REVERSE: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    first, ahead = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    rows, inside = first + steps, steps < ahead
    near, far = head // (H // L), head // (H // R)
    left = load_rows(left_ptr, rows, inside, near, L, K, BLOCK_K)
    other = load_rows(other_ptr, rows, inside, near, L, K, BLOCK_K)
    dt, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
    if REVERSE:
        weights = tl.trans(_decay_between(g, BLOCK_T)) * dt[:, None]
    else:
        weights = _decay_between(g, BLOCK_T) * dt[None, :]
    weights *= tl.dot(left, tl.trans(other), input_precision="ieee")

    weights = weights.to(right_ptr.dtype.element_ty)
    place = chunk * H + head
    edge = tl.zeros((BLOCK_T,), tl.float32)
    for column in tl.range(0, V, BLOCK_V, num_stages=1, disable_licm=True):
        if own_ptr is None:
            state = load_state(states_ptr, place, K, V, BLOCK_K, BLOCK_V, column)
        else:
            state = _load_transposed(states_ptr, place, column, V, K, BLOCK_V, BLOCK_K)
        o = tl.dot(left, state.to(left.dtype), input_precision="ieee")
        if REVERSE:
            o *= (dt * _decay_until(dt_ptr, a_ptr, rows, ahead, head, H, BLOCK_T))[:, None]
        else:
            o *= tl.exp(tl.associative_scan(g, 0, _add))[:, None]
        if own_ptr is not None:
            own = load_rows(own_ptr, rows, inside, far, R, V, BLOCK_V, column)
            edge += tl.sum(o * own, axis=1)
        right = load_rows(right_ptr, rows, inside, far, R, V, BLOCK_V, column)
        o += tl.dot(weights, right, input_precision="ieee")
        store_rows(o_ptr, o, rows, inside, head, H, V, BLOCK_V, column)
    if own_ptr is not None:
        tl.store(edge_ptr + rows * H + head, edge, mask=inside)


@triton.jit
def _scores_kernel(
    b_ptr, c_ptr, cu_seqlens_ptr, scores_ptr,
    S, T, H, P, G, N,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    chunk, group = tl.program_id(0), tl.program_id(1)
    first, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    b = load_rows(b_ptr, first + steps, steps < left, group, G, N, BLOCK_N)
    c = load_rows(c_ptr, first + steps, steps < left, group, G, N, BLOCK_N)
    scores = tl.dot(c, tl.trans(b), input_precision="ieee")
    store_state(scores_ptr, scores, chunk * G + group, BLOCK_T, BLOCK_T, BLOCK_T, BLOCK_T)


@triton.jit
def _weights_kernel(
    dt_ptr, a_ptr, scores_ptr, cu_seqlens_ptr, weights_ptr,
    S, T, H, P, G, N,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    first, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    dt, g = _load_steps(dt_ptr, a_ptr, first + steps, steps < left, head, H)
    place = chunk * G + head // (H // G)
    scores = load_state(scores_ptr, place, BLOCK_T, BLOCK_T, BLOCK_T, BLOCK_T)
    weights = _decay_between(g, BLOCK_T) * dt[None, :] * scores
    store_state(weights_ptr, weights, chunk * H + head, BLOCK_T, BLOCK_T, BLOCK_T, BLOCK_T)


@triton.jit
def _outputs_kernel(
    x_ptr, dt_ptr, a_ptr, c_ptr, states_ptr, weights_ptr, cu_seqlens_ptr, o_ptr,
    S, T, H, P, G, N,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    first, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    rows, inside = first + steps, steps < left
    place = chunk * H + head
    _, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
    for column in tl.range(0, P, BLOCK_P, num_stages=1, disable_licm=True):
        c = load_rows(c_ptr, rows, inside, head // (H // G), G, N, BLOCK_N)
        state = load_state(states_ptr, place, N, P, BLOCK_N, BLOCK_P, column)
        o = tl.dot(c, state.to(c.dtype), input_precision="ieee")
        o *= tl.exp(tl.associative_scan(g, 0, _add))[:, None]
        x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P, column)
        weights = load_state(weights_ptr, place, BLOCK_T, BLOCK_T, BLOCK_T, BLOCK_T)
        o += tl.dot(weights.to(x.dtype), x, input_precision="ieee")
        store_rows(o_ptr, o, rows, inside, head, H, P, BLOCK_P, column)


@triton.jit
def _slice(s_ptr, index, first, column, N, P, BLOCK_P: tl.constexpr):
    """16 rows of state ``index`` in float32, from ``column``; zero past the edges."""
    n, p = first + tl.arange(0, 16)[:, None], column + tl.arange(0, BLOCK_P)[None, :]
    at = (index.to(tl.int64) * N + n) * P + p  # [16, BLOCK_P]
    return tl.load(s_ptr + at, mask=(n < N) & (p < P), other=0.0).to(tl.float32)


@triton.jit
def _input_gradients_kernel(
    x_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, states_ptr, ends_ptr, d_o_ptr, from_start_ptr, to_end_ptr,
    cu_seqlens_ptr, dx_ptr, d_dt_ptr, da_ptr,
    S, T, H, P, G, N,
    BLOCK_S: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    chunk, head = tl.program_id(0), tl.program_id(1)
    group, place = head // (H // G), chunk * H + head
    first, left = chunk_of(cu_seqlens_ptr, chunk, T, S, BLOCK_S, BLOCK_T)
    steps = tl.arange(0, BLOCK_T)
    rows, inside = first + steps, steps < left
    dt, g = _load_steps(dt_ptr, a_ptr, rows, inside, head, H)
    b = load_rows(b_ptr, rows, inside, group, G, N, BLOCK_N)
    c = load_rows(c_ptr, rows, inside, group, G, N, BLOCK_N)
    scores = tl.dot(b, tl.trans(c), input_precision="ieee")  # [from, to]
    scores *= tl.trans(_decay_between(g, BLOCK_T))

    # over each step: paths inside the chunk, from its start, to its end, and past it
    paths = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    past = 0.0
    for column in tl.range(0, P, BLOCK_P, num_stages=1, disable_licm=True):
        x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P, column)
        d_o = load_rows(d_o_ptr, rows, inside, head, H, P, BLOCK_P, column)
        paths += tl.dot(x, tl.trans(d_o), input_precision="ieee")
        for n in range(0, N, 16):
            later = _slice(ends_ptr, place, n, column, N, P, BLOCK_P)
            past += tl.sum(later * _slice(states_ptr, place, n, column, N, P, BLOCK_P))
    paths *= scores * dt[:, None]
    paths = tl.associative_scan(paths, 1, _add, reverse=True)  # [from, over]
    paths += tl.load(to_end_ptr + rows * H + head, mask=inside, other=0.0)[:, None]
    dg = tl.sum(tl.where(steps[:, None] < steps[None, :], paths, 0.0), axis=0)
    from_start = tl.load(from_start_ptr + rows * H + head, mask=inside, other=0.0)
    dg += tl.associative_scan(from_start, 0, _add, reverse=True)
    dg += past * tl.exp(tl.sum(g, axis=0))

    scores = scores.to(d_o_ptr.dtype.element_ty)
    d_dt = dg * tl.load(a_ptr + head).to(tl.float32)
    for column in tl.range(0, P, BLOCK_P, num_stages=1, disable_licm=True):
        end = load_state(ends_ptr, place, N, P, BLOCK_N, BLOCK_P, column)
        d_write = tl.dot(b, end.to(b.dtype), input_precision="ieee")
        d_write *= _decay_until(dt_ptr, a_ptr, rows, left, head, H, BLOCK_T)[:, None]
        d_o = load_rows(d_o_ptr, rows, inside, head, H, P, BLOCK_P, column)
        d_write += tl.dot(scores, d_o, input_precision="ieee")
        x = load_rows(x_ptr, rows, inside, head, H, P, BLOCK_P, column)
        d_dt += tl.sum(x * d_write, axis=1)
        store_rows(dx_ptr, d_write * dt[:, None], rows, inside, head, H, P, BLOCK_P, column)
    tl.store(d_dt_ptr + rows * H + head, d_dt.to(d_dt_ptr.dtype.element_ty), mask=inside)
    # a chunk that no sequence uses has no states
    tl.store(da_ptr + place, tl.sum(tl.where(inside, dg * dt, 0.0), axis=0))
