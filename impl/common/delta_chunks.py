# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
"""Chunks of the delta rule on chip: walks over them from either side, and the gradients of one.

What each writes for a chunk goes to the tensors it is handed, of a whole sequence or of a piece of
it: ``shift`` leads from a row of the inputs to the row of theirs, ``place`` is where the first state
lies, those of the chunks that follow are ``H`` apart. The letters are those of ``delta_walk``.
"""

import triton
import triton.language as tl

from impl.common.sequences import (
    load_rows,
    load_tile,
    store_rows,
    store_state,
)
from impl.common.unit_lower import unit_lower_inverse

WHOLE = tl.constexpr(128)
"""Channels that are held at a time where q and k only meet each other."""


@triton.jit
def chunk_rows(start, left, R: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_T: tl.constexpr):
    """Rows of the tokens of a chunk and of their corrections, each with those inside."""
    tokens, steps = tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_T)
    left = tl.minimum(left, BLOCK_T // R)
    return start + tokens, tokens < left, start * R + steps, steps < left * R


@triton.jit
def load_steps(x_ptr, rows, inside, head, H):
    """One float32 number a step of a contiguous [rows, H] tensor; zero past the end."""
    return tl.load(x_ptr + rows * H + head, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def load_shared(
    x_ptr, rows, inside, head, H, K, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, first=0
):  # fmt: skip
    """``load_rows`` of a tensor in which ``GROUP`` neighbours of the H heads share one."""
    return load_rows(x_ptr, rows, inside, head // GROUP, H // GROUP, K, BLOCK_K, first)


@triton.jit
def decays(g_ptr, rows, inside, head, H, BLOCK_T: tl.constexpr):
    """D [to, from], zero above the diagonal; c and e [BLOCK_T]; c at the end of the chunk."""
    steps = tl.arange(0, BLOCK_T)
    if g_ptr is None:
        between = tl.full((BLOCK_T, BLOCK_T), 1.0, tl.float32)
        since = tl.full((BLOCK_T,), 1.0, tl.float32)
        until = since
        whole = 1.0
    else:
        g = load_steps(g_ptr, rows, inside, head, H)
        # each decay sums its own steps: differences of longer sums lose what the gates left
        over = tl.where(steps[:, None] > steps[None, :], g[:, None], 0.0)
        between = tl.exp(tl.cumsum(over, axis=0))
        since = tl.exp(tl.cumsum(g, axis=0))
        until = tl.exp(tl.sum(over, axis=0))
        whole = tl.exp(tl.sum(g, axis=0))
    between = tl.where(steps[:, None] >= steps[None, :], between, 0.0)
    return between, since, until, whole


@triton.jit
def reading(between, since, R: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_T: tl.constexpr):
    """``between`` and ``since`` where tokens read, after their last correction."""
    if R == 1:
        read_between = between
        read_since = since
    else:
        tokens, steps = tl.arange(0, BLOCK_Q)[:, None], tl.arange(0, BLOCK_T)[None, :]
        read_between = tl.where(steps // R <= tokens, 1.0, 0.0)
        read_since = tl.full((BLOCK_Q,), 1.0, tl.float32)
    return read_between, read_since


@triton.jit
def products(
    x_ptr, x_rows, x_inside, k_ptr, rows, inside, head, H, K,
    BLOCK_X: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Every row of x times every row of k, [BLOCK_X, BLOCK_T], ``BLOCK_K`` channels at a time."""
    found = tl.zeros((BLOCK_X, BLOCK_T), tl.float32)
    for channel in tl.range(0, K, BLOCK_K, disable_licm=True):
        x = load_shared(x_ptr, x_rows, x_inside, head, H, K, BLOCK_K, GROUP, channel)
        k = load_shared(k_ptr, rows, inside, head, H, K, BLOCK_K, GROUP, channel)
        found += tl.dot(x, tl.trans(k), input_precision="ieee")
    return found


@triton.jit
def chunk_inverse(
    k_ptr, rows, inside, head, H, K, beta, between,
    INVERSE: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """``(I + A)^-1`` in the dtype of K, of which all channels are held up to ``WHOLE``."""
    if BLOCK_K <= WHOLE:
        k = load_shared(k_ptr, rows, inside, head, H, K, BLOCK_K, GROUP)
        below = tl.dot(k, tl.trans(k), input_precision="ieee") * between * beta[:, None]
    else:
        below = products(
            k_ptr, rows, inside, k_ptr, rows, inside, head, H, K, BLOCK_T, BLOCK_T, WHOLE, GROUP
        )
        below = below * between * beta[:, None]
    # float32 to two bits, on matrix cores, where the result is rounded to half precision
    dtype: tl.constexpr = k_ptr.dtype.element_ty
    precision: tl.constexpr = "ieee" if dtype == tl.float32 else "tf32x3"
    return unit_lower_inverse(below, INVERSE, precision, BLOCK_T).to(dtype)


@triton.jit
def store_inverses(
    k_ptr, beta_ptr, g_ptr, inverse_ptr, start, length, shift, head, H, K,
    INVERSE: tl.constexpr, R: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """The inverse of each chunk of ``length`` tokens, which the walks then read."""
    for done in tl.range(0, length, BLOCK_T // R, disable_licm=True):
        _, _, rows, inside = chunk_rows(start + done, length - done, R, BLOCK_Q, BLOCK_T)
        beta = load_steps(beta_ptr, rows, inside, head, H)
        between, _, _, _ = decays(g_ptr, rows, inside, head, H, BLOCK_T)
        inverse = chunk_inverse(
            k_ptr, rows, inside, head, H, K, beta, between, INVERSE, BLOCK_T, BLOCK_K, GROUP
        )
        store_rows(inverse_ptr, inverse, rows + shift, inside, head, H, BLOCK_T, BLOCK_T)


@triton.jit
def walk_chunks(
    state, k_ptr, v_ptr, beta_ptr, g_ptr, inverse_ptr, u_ptr, starts_ptr,
    start, length, place, shift, head, first, H, K, V,
    R: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """U and the state at the start of each chunk, once their inverses are there."""
    for done in tl.range(0, length, BLOCK_T // R, disable_licm=True):
        _, _, rows, inside = chunk_rows(start + done, length - done, R, BLOCK_Q, BLOCK_T)
        k = load_shared(k_ptr, rows, inside, head, H, K, BLOCK_K, GROUP)
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V, first)
        inverse = load_rows(inverse_ptr, rows + shift, inside, head, H, BLOCK_T, BLOCK_T)
        beta = load_steps(beta_ptr, rows, inside, head, H)[:, None]
        _, since, until, whole = decays(g_ptr, rows, inside, head, H, BLOCK_T)
        store_state(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V, first)
        recalled = tl.dot(k, state.to(k.dtype), input_precision="ieee") * since[:, None]
        u = tl.dot(inverse, (beta * (v - recalled)).to(k.dtype), input_precision="ieee").to(k.dtype)
        store_rows(u_ptr, u, rows + shift, inside, head, H, V, BLOCK_V, first)
        tl.debug_barrier()
        k = load_shared(k_ptr, rows, inside, head, H, K, BLOCK_K, GROUP)
        kept = (k * until[:, None]).to(k.dtype)
        state = state * whole + tl.dot(tl.trans(kept), u, input_precision="ieee")
        place += H


@triton.jit
def walk_chunks_back(
    end, q_ptr, k_ptr, beta_ptr, g_ptr, inverse_ptr, d_o_ptr, dr_ptr, ends_ptr,
    start, length, place, shift, head, first, H, K, V,
    R: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """The dR and the G at the end of each chunk from the G after all, ``end``; returns the one before."""
    tokens: tl.constexpr = BLOCK_T // R
    chunks = tl.cdiv(length, tokens)
    for i in tl.range(chunks, disable_licm=True):
        done = (chunks - 1 - i) * tokens
        reads, read, rows, inside = chunk_rows(start + done, length - done, R, BLOCK_Q, BLOCK_T)
        q = load_shared(q_ptr, reads, read, head, H, K, BLOCK_K, GROUP)
        k = load_shared(k_ptr, rows, inside, head, H, K, BLOCK_K, GROUP)
        d_o = load_rows(d_o_ptr, reads, read, head, H, V, BLOCK_V, first)
        inverse = load_rows(inverse_ptr, rows + shift, inside, head, H, BLOCK_T, BLOCK_T)
        beta = load_steps(beta_ptr, rows, inside, head, H)
        between, since, until, whole = decays(g_ptr, rows, inside, head, H, BLOCK_T)
        read_between, read_since = reading(between, since, R, BLOCK_Q, BLOCK_T)
        dtype = k.dtype
        store_state(ends_ptr, end, place + (chunks - 1 - i) * H, K, V, BLOCK_K, BLOCK_V, first)

        # formed transposed: Triton 3.4 to 3.7.0 miscompiles a dot with a transposed accumulator
        scores = tl.dot(k, tl.trans(q), input_precision="ieee") * tl.trans(read_between)
        du = tl.dot(scores.to(dtype), d_o, input_precision="ieee")
        # no load passes a barrier; k is loaded again rather than held in the layout of a product
        tl.debug_barrier()
        k = load_shared(k_ptr, rows, inside, head, H, K, BLOCK_K, GROUP)
        kept = (k * until[:, None]).to(dtype)
        du += tl.dot(kept, end.to(dtype), input_precision="ieee")
        dr = tl.dot(tl.trans(inverse), du.to(dtype), input_precision="ieee").to(dtype)
        store_rows(dr_ptr, dr, rows + shift, inside, head, H, V, BLOCK_V, first)

        tl.debug_barrier()
        q = load_shared(q_ptr, reads, read, head, H, K, BLOCK_K, GROUP)
        k = load_shared(k_ptr, rows, inside, head, H, K, BLOCK_K, GROUP)
        asked = (q * read_since[:, None]).to(dtype)
        recalled = (k * (beta * since)[:, None]).to(dtype)
        end = end * whole + tl.dot(tl.trans(asked), d_o, input_precision="ieee")
        end -= tl.dot(tl.trans(recalled), dr, input_precision="ieee")
    return end


@triton.jit
def chunk_gradients(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr,
    dq_ptr, dk_ptr, dv_ptr, dbeta_ptr, dg_ptr,
    start, left, place, shift, head, H, K, V,
    R: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """All gradients of one chunk from S, G, U and dR."""
    steps = tl.arange(0, BLOCK_T)
    reads, read, rows, inside = chunk_rows(start, left, R, BLOCK_Q, BLOCK_T)
    beta = load_steps(beta_ptr, rows, inside, head, H)
    between, since, until, whole = decays(g_ptr, rows, inside, head, H, BLOCK_T)
    read_between, read_since = reading(between, since, R, BLOCK_Q, BLOCK_T)

    # from step to step; each product twice, for a dot with a transposed accumulator is miscompiled
    scores = tl.zeros((BLOCK_Q, BLOCK_T), tl.float32)
    scores_across = tl.zeros((BLOCK_T, BLOCK_Q), tl.float32)
    system = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    system_across = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    dbeta = tl.zeros((BLOCK_T,), tl.float32)
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        u = load_rows(u_ptr, rows + shift, inside, head, H, V, BLOCK_V, first)
        d_o = load_rows(d_o_ptr, reads, read, head, H, V, BLOCK_V, first)
        scores += tl.dot(d_o, tl.trans(u), input_precision="ieee")
        scores_across += tl.dot(u, tl.trans(d_o), input_precision="ieee")
        dr = load_rows(dr_ptr, rows + shift, inside, head, H, V, BLOCK_V, first)
        system -= tl.dot(dr, tl.trans(u), input_precision="ieee")
        system_across -= tl.dot(u, tl.trans(dr), input_precision="ieee")
        v = load_rows(v_ptr, rows, inside, head, H, V, BLOCK_V, first)
        dbeta += tl.sum(dr.to(tl.float32) * v, axis=1)
        store_rows(dv_ptr, beta[:, None] * dr, rows, inside, head, H, V, BLOCK_V, first)

    q = load_shared(q_ptr, reads, read, head, H, K, BLOCK_K, GROUP)
    k = load_shared(k_ptr, rows, inside, head, H, K, BLOCK_K, GROUP)
    dtype = k.dtype
    below = tl.where(steps[:, None] > steps[None, :], between, 0.0)
    scores *= read_between
    system *= below
    system_gram = system * tl.dot(k, tl.trans(k), input_precision="ieee")
    dbeta += tl.sum(system_gram, axis=1)
    if dg_ptr is not None:
        paths = tl.dot(q, tl.trans(k), input_precision="ieee") * scores
        paths += system_gram * beta[:, None]
        # g[s] scales every path over step s: from a step or the start before it to one not before
        paths = tl.cumsum(paths, axis=0, reverse=True)
        dg = tl.sum(tl.where(steps[:, None] > steps[None, :], paths, 0.0), axis=1)
    scores = scores.to(dtype)
    scores_across = (scores_across * tl.trans(read_between)).to(dtype)
    system = system * beta[:, None] + system_across * tl.trans(below) * beta[None, :]
    system = system.to(dtype)

    # through the states at the edges of the chunk, some channels at a time
    tl.debug_barrier()
    _, since, until, whole = decays(g_ptr, rows, inside, head, H, BLOCK_T)
    beta = load_steps(beta_ptr, rows, inside, head, H)
    through = 0.0
    from_start = tl.zeros((BLOCK_Q,), tl.float32)
    to_end = tl.zeros((BLOCK_T,), tl.float32)
    erased = tl.zeros((BLOCK_T,), tl.float32)
    for channel in tl.range(0, K, TILE_K, disable_licm=True):
        dq = tl.zeros((BLOCK_Q, TILE_K), tl.float32)
        recalled = tl.zeros((BLOCK_T, TILE_K), tl.float32)
        kept = tl.zeros((BLOCK_T, TILE_K), tl.float32)
        for first in tl.range(0, V, BLOCK_V, disable_licm=True):
            state = load_tile(starts_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
            end = load_tile(ends_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
            if dg_ptr is not None:
                through += tl.sum(tl.sum(state.to(tl.float32) * end.to(tl.float32), axis=1), axis=0)
            u = load_rows(u_ptr, rows + shift, inside, head, H, V, BLOCK_V, first)
            kept += tl.dot(u, tl.trans(end), input_precision="ieee")
            d_o = load_rows(d_o_ptr, reads, read, head, H, V, BLOCK_V, first)
            dq += tl.dot(d_o, tl.trans(state), input_precision="ieee")
            dr = load_rows(dr_ptr, rows + shift, inside, head, H, V, BLOCK_V, first)
            recalled += tl.dot(dr, tl.trans(state), input_precision="ieee")
        query = load_shared(q_ptr, reads, read, head, H, K, TILE_K, GROUP, channel)
        key = load_shared(k_ptr, rows, inside, head, H, K, TILE_K, GROUP, channel)
        dq *= read_since[:, None]
        recalled *= since[:, None]
        kept *= until[:, None]
        from_start += tl.sum(dq * query, axis=1)
        erased += tl.sum(recalled * key, axis=1)
        to_end += tl.sum(kept * key, axis=1)
        dk = kept - beta[:, None] * recalled
        dq += tl.dot(scores, key, input_precision="ieee")
        store_rows(dq_ptr, dq, reads, read, head, H, K, TILE_K, channel)
        dk += tl.dot(scores_across, query, input_precision="ieee")
        dk += tl.dot(system, key, input_precision="ieee")
        store_rows(dk_ptr, dk, rows, inside, head, H, K, TILE_K, channel)

    dbeta -= erased
    tl.store(dbeta_ptr + rows * H + head, dbeta.to(dtype), mask=inside)
    if dg_ptr is not None:
        from_start -= beta * erased  # [BLOCK_T]
        before = steps[:, None] > steps[None, :]
        dg += tl.sum(tl.where(before, to_end[None, :], from_start[None, :]), axis=1)
        dg += whole * through
        tl.store(dg_ptr + rows * H + head, dg.to(dtype), mask=inside)
