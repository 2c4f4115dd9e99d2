# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
"""Chunks of the delta rule on chip: walks over them from either side, and the gradients of one.

What each writes for a chunk goes to the tensors it is handed, of a whole sequence or of a piece of
it: ``shift`` leads from a row of the inputs to the row of theirs, ``place`` is where the first state
lies, those of the chunks that follow are ``H`` apart. The letters are those of ``delta_walk``.

No load passes a barrier: between them an input is loaded again rather than held in the layout of a
product, which takes more registers than a chunk of 64 steps leaves.
"""

import triton
import triton.language as tl
from triton.language.target_info import cuda_capability_geq

from impl.common.sequences import (
    load_chunk,
    load_steps,
    load_tile,
    store_chunk,
    store_steps,
    store_tile,
)
from impl.common.unit_lower import unit_lower_inverse

PART = tl.constexpr(64)
"""Channels that are held at a time where rows only meet rows."""


@triton.jit
def chunk_at(start, done, length, R: tl.constexpr, BLOCK_T: tl.constexpr):
    """First token of a chunk and how many it has; of their corrections the same."""
    row, left = start + done, tl.minimum(length - done, BLOCK_T // R)
    return row, left, row * R, left * R


@triton.constexpr_function
def query_rows(R, BLOCK_T):
    """Rows that hold the tokens of a chunk: no fewer than the card's own instruction takes at once."""
    least = 64 if cuda_capability_geq(9) else 16
    return min(BLOCK_T, max(least, triton.next_power_of_2(BLOCK_T // R)))


@triton.jit
def decays_between(g_ptr, row, left, head, H, BLOCK_T: tl.constexpr):
    """The decays D [to, from], zero above the diagonal."""
    steps = tl.arange(0, BLOCK_T)
    if g_ptr is None:
        between = tl.full((BLOCK_T, BLOCK_T), 1.0, tl.float32)
    else:
        g = load_steps(g_ptr, row, left, head, H, BLOCK_T)
        # each decay sums its own steps: differences of longer sums lose what the gates left
        over = tl.where(steps[:, None] > steps[None, :], g[:, None], 0.0)
        between = tl.exp(tl.cumsum(over, axis=0))
    return tl.where(steps[:, None] >= steps[None, :], between, 0.0)


@triton.jit
def decays_since(g_ptr, row, left, head, H, BLOCK_T: tl.constexpr):
    """The decays c [BLOCK_T] from the start of the chunk."""
    if g_ptr is None:
        since = tl.full((BLOCK_T,), 1.0, tl.float32)
    else:
        since = tl.exp(tl.cumsum(load_steps(g_ptr, row, left, head, H, BLOCK_T), axis=0))
    return since


@triton.jit
def decays_until(g_ptr, row, left, head, H, BLOCK_T: tl.constexpr):
    """The decays e [BLOCK_T] to the end of the chunk."""
    if g_ptr is None:
        until = tl.full((BLOCK_T,), 1.0, tl.float32)
    else:
        g = load_steps(g_ptr, row + 1, left - 1, head, H, BLOCK_T)
        until = tl.exp(tl.cumsum(g, axis=0, reverse=True))
    return until


@triton.jit
def decay_across(g_ptr, row, left, head, H, BLOCK_T: tl.constexpr):
    """The decay c at the end of the chunk."""
    if g_ptr is None:
        across = 1.0
    else:
        across = tl.exp(tl.sum(load_steps(g_ptr, row, left, head, H, BLOCK_T), axis=0))
    return across


@triton.jit
def read_between(g_ptr, row, left, head, H, R: tl.constexpr, BLOCK_T: tl.constexpr):
    """D [to, from] where tokens read, after their last correction; with R > 1 there are no gates."""
    if R == 1:
        between = decays_between(g_ptr, row, left, head, H, BLOCK_T)
    else:
        tokens = tl.arange(0, query_rows(R, BLOCK_T))[:, None]
        steps = tl.arange(0, BLOCK_T)[None, :]
        between = tl.where(steps // R <= tokens, 1.0, 0.0)
    return between


@triton.jit
def products(
    x_ptr, x_row, x_left, y_ptr, y_row, y_left, head, H, K,
    BLOCK_X: tl.constexpr, BLOCK_Y: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Every row of x times every row of y, [BLOCK_X, BLOCK_Y], ``BLOCK_K`` channels at a time."""
    found = tl.zeros((BLOCK_X, BLOCK_Y), tl.float32)
    for channel in tl.range(0, K, BLOCK_K, disable_licm=True):
        x = load_chunk(x_ptr, x_row, x_left, head, H, K, BLOCK_X, BLOCK_K, channel)
        y = load_chunk(y_ptr, y_row, y_left, head, H, K, BLOCK_Y, BLOCK_K, channel)
        found = tl.dot(x, tl.trans(y), found, input_precision="ieee")
    return found


@triton.jit
def chunk_inverse(
    k_ptr, beta_ptr, g_ptr, row, left, head, H, K,
    INVERSE: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """``(I + A)^-1`` in the dtype of K."""
    part: tl.constexpr = BLOCK_K if BLOCK_K < PART else PART
    below = products(
        k_ptr, row, left, k_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, BLOCK_T, part
    )
    between = decays_between(g_ptr, row, left, head, H, BLOCK_T)
    below *= between * load_steps(beta_ptr, row, left, head, H, BLOCK_T)[:, None]
    # on matrix cores where the result is rounded to half precision
    dtype: tl.constexpr = k_ptr.dtype.element_ty
    precision: tl.constexpr = "ieee" if dtype == tl.float32 else "halves"
    return unit_lower_inverse(below, INVERSE, precision, BLOCK_T).to(dtype)


@triton.jit
def store_inverses(
    k_ptr, beta_ptr, g_ptr, inverse_ptr, start, length, shift, head, H, K,
    INVERSE: tl.constexpr, R: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    """The inverse of each chunk of ``length`` tokens, which the walks then read."""
    for done in tl.range(0, length, BLOCK_T // R, disable_licm=True):
        _, _, row, left = chunk_at(start, done, length, R, BLOCK_T)
        inverse = chunk_inverse(
            k_ptr, beta_ptr, g_ptr, row, left, head, H, K, INVERSE, BLOCK_T, BLOCK_K, GROUP
        )
        store_chunk(inverse_ptr, inverse, row + shift, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)


@triton.jit
def corrections(
    state, inverse, k_ptr, v_ptr, beta_ptr, g_ptr, row, left, head, first, H, K, V,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """U of a chunk from the state before it."""
    k = load_chunk(k_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, BLOCK_K)
    v = load_chunk(v_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
    beta = load_steps(beta_ptr, row, left, head, H, BLOCK_T)
    since = decays_since(g_ptr, row, left, head, H, BLOCK_T)
    recalled = tl.dot(k, state.to(k.dtype), input_precision="ieee") * since[:, None]
    wrong = (beta[:, None] * (v - recalled)).to(k.dtype)
    return tl.dot(inverse, wrong, input_precision="ieee").to(k.dtype)


@triton.jit
def after_chunk(
    state, u, k_ptr, g_ptr, row, left, head, H, K,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """The state behind a chunk from the one before it."""
    k = load_chunk(k_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, BLOCK_K)
    until = decays_until(g_ptr, row, left, head, H, BLOCK_T)
    kept = (k * until[:, None]).to(k.dtype)
    return tl.dot(
        tl.trans(kept),
        u,
        state * decay_across(g_ptr, row, left, head, H, BLOCK_T),
        input_precision="ieee",
    )


@triton.jit
def walk_chunks(
    state, k_ptr, v_ptr, beta_ptr, g_ptr, inverse_ptr, u_ptr, starts_ptr,
    start, length, place, shift, head, first, H, K, V,
    R: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    GROUP: tl.constexpr,
):  # fmt: skip
    """U and the state at the start of each chunk, once their inverses are there."""
    for done in tl.range(0, length, BLOCK_T // R, disable_licm=True):
        _, _, row, left = chunk_at(start, done, length, R, BLOCK_T)
        store_tile(starts_ptr, state, place, K, V, BLOCK_K, BLOCK_V, 0, first)
        inverse = load_chunk(inverse_ptr, row + shift, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        u = corrections(
            state, inverse, k_ptr, v_ptr, beta_ptr, g_ptr, row, left, head, first, H, K, V,
            BLOCK_T, BLOCK_K, BLOCK_V, GROUP,
        )  # fmt: skip
        store_chunk(u_ptr, u, row + shift, left, head, H, V, BLOCK_T, BLOCK_V, first)
        tl.debug_barrier()
        state = after_chunk(
            state, u, k_ptr, g_ptr, row, left, head, H, K, BLOCK_T, BLOCK_K, GROUP
        )  # fmt: skip
        place += H


@triton.jit
def walk_chunks_back(
    end, q_ptr, k_ptr, beta_ptr, g_ptr, inverse_ptr, d_o_ptr, dr_ptr, ends_ptr,
    start, length, place, shift, head, first, H, K, V,
    R: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """The dR and the G at the end of each chunk from the G after all, ``end``; returns the one before."""
    BLOCK_Q: tl.constexpr = query_rows(R, BLOCK_T)
    group, groups = head // GROUP, H // GROUP
    part: tl.constexpr = BLOCK_K if BLOCK_K < PART else PART
    chunks = tl.cdiv(length, BLOCK_T // R)
    for i in tl.range(chunks, disable_licm=True):
        done = (chunks - 1 - i) * (BLOCK_T // R)
        token, tokens, row, left = chunk_at(start, done, length, R, BLOCK_T)
        at = place + (chunks - 1 - i) * H
        store_tile(ends_ptr, end, at, K, V, BLOCK_K, BLOCK_V, 0, first)

        # formed transposed: Triton 3.4 to 3.7.0 miscompiles a dot with a transposed accumulator
        scores = products(
            k_ptr, row, left, q_ptr, token, tokens, group, groups, K, BLOCK_T, BLOCK_Q, part
        )
        between = read_between(g_ptr, row, left, head, H, R, BLOCK_T)
        d_o = load_chunk(d_o_ptr, token, tokens, head, H, V, BLOCK_Q, BLOCK_V, first)
        scores = (scores * tl.trans(between)).to(d_o.dtype)
        du = tl.dot(scores, d_o, input_precision="ieee")
        tl.debug_barrier()
        k = load_chunk(k_ptr, row, left, group, groups, K, BLOCK_T, BLOCK_K)
        until = decays_until(g_ptr, row, left, head, H, BLOCK_T)
        kept = (k * until[:, None]).to(k.dtype)
        du = tl.dot(kept, end.to(k.dtype), du, input_precision="ieee").to(k.dtype)
        inverse = load_chunk(inverse_ptr, row + shift, left, head, H, BLOCK_T, BLOCK_T, BLOCK_T)
        dr = tl.dot(tl.trans(inverse), du, input_precision="ieee").to(k.dtype)
        store_chunk(dr_ptr, dr, row + shift, left, head, H, V, BLOCK_T, BLOCK_V, first)

        tl.debug_barrier()
        q = load_chunk(q_ptr, token, tokens, group, groups, K, BLOCK_Q, BLOCK_K)
        d_o = load_chunk(d_o_ptr, token, tokens, head, H, V, BLOCK_Q, BLOCK_V, first)
        since = decays_since(g_ptr, row, left, head, H, BLOCK_Q)
        whole = decay_across(g_ptr, row, left, head, H, BLOCK_T)
        asked = (q * since[:, None]).to(q.dtype)
        end = tl.dot(tl.trans(asked), d_o, end * whole, input_precision="ieee")
        tl.debug_barrier()
        k = load_chunk(k_ptr, row, left, group, groups, K, BLOCK_T, BLOCK_K)
        forgotten = decays_since(g_ptr, row, left, head, H, BLOCK_T)
        forgotten *= load_steps(beta_ptr, row, left, head, H, BLOCK_T)
        recalled = (k * -forgotten[:, None]).to(k.dtype)
        end = tl.dot(tl.trans(recalled), dr, end, input_precision="ieee")
    return end


@triton.jit
def _from_state(
    x_ptr, s_ptr, row, left, place, head, channel, H, K, V,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Rows of x times rows of a state from ``channel``, [BLOCK_T, TILE_K]."""
    found = tl.zeros((BLOCK_T, TILE_K), tl.float32)
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        x = load_chunk(x_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        state = load_tile(s_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
        found = tl.dot(x, tl.trans(state), found, input_precision="ieee")
    return found


@triton.jit
def _value_gradients(
    v_ptr, beta_ptr, dr_ptr, dv_ptr, row, left, shift, head, H, V,
    BLOCK_T: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Stores dV; returns what dR and V make of dbeta."""
    dbeta = tl.zeros((BLOCK_T,), tl.float32)
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        v = load_chunk(v_ptr, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        dr = load_chunk(dr_ptr, row + shift, left, head, H, V, BLOCK_T, BLOCK_V, first)
        dbeta += tl.sum(dr.to(tl.float32) * v, axis=1)
        dv = dr * load_steps(beta_ptr, row, left, head, H, BLOCK_T)[:, None]
        store_chunk(dv_ptr, dv, row, left, head, H, V, BLOCK_T, BLOCK_V, first)
    return dbeta


@triton.jit
def _over_each_step(paths, BLOCK_T: tl.constexpr):
    """The weights [to, from] of the paths over each step: from one before it to one not before it."""
    steps = tl.arange(0, BLOCK_T)
    paths = tl.cumsum(paths, axis=0, reverse=True)
    return tl.sum(tl.where(steps[:, None] > steps[None, :], paths, 0.0), axis=1)


@triton.jit
def _query_gradients(
    q_ptr, k_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dq_ptr,
    token, tokens, row, left, shift, place, head, H, K, V,
    R: tl.constexpr, BLOCK_T: tl.constexpr, TILE_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Stores dQ; returns the weights of the paths over each step that tokens read."""
    BLOCK_Q: tl.constexpr = query_rows(R, BLOCK_T)
    group, groups = head // GROUP, H // GROUP
    scores = products(
        d_o_ptr, token, tokens, u_ptr, row + shift, left, head, H, V, BLOCK_Q, BLOCK_T, BLOCK_V
    )
    scores *= read_between(g_ptr, row, left, head, H, R, BLOCK_T)
    dg = tl.zeros((BLOCK_T,), tl.float32)
    if g_ptr is not None:
        paths = products(
            q_ptr, token, tokens, k_ptr, row, left, group, groups, K, BLOCK_Q, BLOCK_T, TILE_K
        )
        dg += _over_each_step(paths * scores, BLOCK_T)
    scores = scores.to(q_ptr.dtype.element_ty)
    from_start = tl.zeros((BLOCK_Q,), tl.float32)
    since = decays_since(g_ptr, row, left, head, H, BLOCK_Q)
    for channel in tl.range(0, K, TILE_K, disable_licm=True):
        dq = _from_state(
            d_o_ptr, starts_ptr, token, tokens, place, head, channel, H, K, V,
            BLOCK_Q, TILE_K, BLOCK_V,
        )  # fmt: skip
        dq *= since[:, None]
        q = load_chunk(q_ptr, token, tokens, group, groups, K, BLOCK_Q, TILE_K, channel)
        from_start += tl.sum(dq * q, axis=1)
        k = load_chunk(k_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel)
        dq = tl.dot(scores, k, dq, input_precision="ieee")
        store_chunk(dq_ptr, dq, token, tokens, head, H, K, BLOCK_Q, TILE_K, channel)
    if g_ptr is not None:
        dg += tl.cumsum(from_start, axis=0, reverse=True)
    return dg


@triton.jit
def _system_gradients(
    k_ptr, beta_ptr, g_ptr, u_ptr, dr_ptr, row, left, shift, head, H, K, V,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """diag(beta) dA and its transpose, added; their part of dbeta; the weights of paths over each step."""
    steps = tl.arange(0, BLOCK_T)
    at = row + shift
    beta = load_steps(beta_ptr, row, left, head, H, BLOCK_T)
    between = decays_between(g_ptr, row, left, head, H, BLOCK_T)
    below = tl.where(steps[:, None] > steps[None, :], between, 0.0)
    system = -below * products(
        dr_ptr, at, left, u_ptr, at, left, head, H, V, BLOCK_T, BLOCK_T, BLOCK_V
    )
    gram = system * products(
        k_ptr, row, left, k_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, BLOCK_T, TILE_K
    )
    dbeta = tl.sum(gram, axis=1)
    dg = tl.zeros((BLOCK_T,), tl.float32)
    if g_ptr is not None:
        dg += _over_each_step(gram * beta[:, None], BLOCK_T)
    # again rather than transposed: a dot with a transposed accumulator is miscompiled
    across = products(u_ptr, at, left, dr_ptr, at, left, head, H, V, BLOCK_T, BLOCK_T, BLOCK_V)
    system = system * beta[:, None] - across * tl.trans(below) * beta[None, :]
    return system.to(k_ptr.dtype.element_ty), dbeta, dg


@triton.jit
def _key_gradients(
    system, q_ptr, k_ptr, beta_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr, dk_ptr,
    token, tokens, row, left, shift, place, head, H, K, V,
    R: tl.constexpr, BLOCK_T: tl.constexpr, TILE_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Stores dK; returns what was erased of each step, what is kept of it, what passes the chunk."""
    BLOCK_Q: tl.constexpr = query_rows(R, BLOCK_T)
    group, groups = head // GROUP, H // GROUP
    at = row + shift
    across = products(
        u_ptr, at, left, d_o_ptr, token, tokens, head, H, V, BLOCK_T, BLOCK_Q, BLOCK_V
    )
    between = read_between(g_ptr, row, left, head, H, R, BLOCK_T)
    across = (across * tl.trans(between)).to(system.dtype)
    to_end = tl.zeros((BLOCK_T,), tl.float32)
    erased = tl.zeros((BLOCK_T,), tl.float32)
    through = tl.zeros((TILE_K,), tl.float32)
    for channel in tl.range(0, K, TILE_K, disable_licm=True):
        k = load_chunk(k_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel)
        recalled = _from_state(
            dr_ptr, starts_ptr, at, left, place, head, channel, H, K, V, BLOCK_T, TILE_K, BLOCK_V
        )
        recalled *= decays_since(g_ptr, row, left, head, H, BLOCK_T)[:, None]
        erased += tl.sum(recalled * k, axis=1)
        kept = _from_state(
            u_ptr, ends_ptr, at, left, place, head, channel, H, K, V, BLOCK_T, TILE_K, BLOCK_V
        )
        kept *= decays_until(g_ptr, row, left, head, H, BLOCK_T)[:, None]
        to_end += tl.sum(kept * k, axis=1)
        dk = kept - load_steps(beta_ptr, row, left, head, H, BLOCK_T)[:, None] * recalled
        dk = tl.dot(system, k, dk, input_precision="ieee")
        q = load_chunk(q_ptr, token, tokens, group, groups, K, BLOCK_Q, TILE_K, channel)
        dk = tl.dot(across, q, dk, input_precision="ieee")
        store_chunk(dk_ptr, dk, row, left, head, H, K, BLOCK_T, TILE_K, channel)
        if g_ptr is not None:
            for first in tl.range(0, V, BLOCK_V, disable_licm=True):
                state = load_tile(starts_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
                end = load_tile(ends_ptr, place, K, V, TILE_K, BLOCK_V, channel, first)
                through += tl.sum(state.to(tl.float32) * end, axis=1)
    return erased, to_end, tl.sum(through, axis=0)


@triton.jit
def chunk_gradients(
    q_ptr, k_ptr, v_ptr, beta_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr,
    dq_ptr, dk_ptr, dv_ptr, dbeta_ptr, dg_ptr,
    start, done, length, place, shift, head, H, K, V,
    R: tl.constexpr, BLOCK_T: tl.constexpr, TILE_K: tl.constexpr,
    BLOCK_V: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """All gradients of one chunk from S, G, U and dR."""
    token, tokens, row, left = chunk_at(start, done, length, R, BLOCK_T)
    dg = _query_gradients(
        q_ptr, k_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dq_ptr,
        token, tokens, row, left, shift, place, head, H, K, V,
        R, BLOCK_T, TILE_K, BLOCK_V, GROUP,
    )  # fmt: skip
    tl.debug_barrier()
    dbeta = _value_gradients(
        v_ptr, beta_ptr, dr_ptr, dv_ptr, row, left, shift, head, H, V, BLOCK_T, BLOCK_V
    )
    system, of_system, inside = _system_gradients(
        k_ptr, beta_ptr, g_ptr, u_ptr, dr_ptr, row, left, shift, head, H, K, V,
        BLOCK_T, TILE_K, BLOCK_V, GROUP,
    )  # fmt: skip
    tl.debug_barrier()
    erased, to_end, through = _key_gradients(
        system, q_ptr, k_ptr, beta_ptr, g_ptr, u_ptr, starts_ptr, d_o_ptr, dr_ptr, ends_ptr, dk_ptr,
        token, tokens, row, left, shift, place, head, H, K, V,
        R, BLOCK_T, TILE_K, BLOCK_V, GROUP,
    )  # fmt: skip
    store_steps(dbeta_ptr, dbeta + of_system - erased, row, left, head, H, BLOCK_T)
    if dg_ptr is not None:
        steps = tl.arange(0, BLOCK_T)
        erased *= load_steps(beta_ptr, row, left, head, H, BLOCK_T)
        # g[s] scales what the chunk's start hands on to steps not before s, and steps before s to its end
        before = steps[:, None] > steps[None, :]
        dg += inside + tl.sum(tl.where(before, to_end[None, :], -erased[None, :]), axis=1)
        whole = decay_across(g_ptr, row, left, head, H, BLOCK_T)
        store_steps(dg_ptr, dg + whole * through, row, left, head, H, BLOCK_T)
