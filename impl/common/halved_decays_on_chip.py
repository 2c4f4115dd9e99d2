# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false
"""Halved decays on chip: what each step of a chunk decays by up to where two halves of it meet.

A chunk of C steps is halved log2(C) times (``impl/common/halved_decays.py`` says why). Where halves of
``1 << halving`` steps meet, an early step decays from behind itself to the end of its half, and a late one
from the start of its half to before itself, or past its ``OWN`` decay if it reads after that: one
exponential a step, channel and halving. The sums of the logarithms are products with zeros and ones,
exact in any dtype, on matrix cores. They come as [C, K] or, as ``ACROSS``, as [K, C], for a product may
not read a transposed accumulator: Triton 3.4 to 3.7.0 miscompiles that on Hopper.

A halving is one product of all rows, of which the pairs that meet there are kept, for matrix units
want 64 rows. Backwards a triangle of gradients and its transpose make one symmetric matrix: one
product gives late steps what early ones have for them and the reverse.
"""

import triton
import triton.language as tl

from impl.common.sequences import load_chunk

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def late(steps, halving):
    """Whether steps lie in the second half of their block of ``2 << halving`` steps."""
    return (steps >> halving) & 1 == 1


@triton.jit
def meeting(halving, BLOCK_T: tl.constexpr):
    """Whether two steps lie in the two halves, of ``1 << halving`` steps, of one block; symmetric."""
    half = tl.arange(0, BLOCK_T) >> halving
    return half[:, None] == (half ^ 1)[None, :]


@triton.jit
def _distance(halving, first, SOME: tl.constexpr):
    """First step of each step's half, and that plus the steps between it and the meeting point.

    Computed anew for each halving: compilers hold what does not change in [C, C] registers.
    """
    steps = first + tl.arange(0, SOME)
    within = (1 << halving) - 1
    start = steps & ~within
    inside = steps & within
    away = tl.where(late(steps, halving), inside, within - inside)
    return start, start + away


@triton.jit
def _reach(halving, BLOCK_T: tl.constexpr, OWN: tl.constexpr):
    """Of each step the places, counted to the meeting point, where its decay starts and ends."""
    start, end = _distance(halving, 0, BLOCK_T)
    if OWN:
        end += late(tl.arange(0, BLOCK_T), halving).to(tl.int32)
    return start, end


@triton.jit
def passed(
    halving, BLOCK_T: tl.constexpr, OWN: tl.constexpr, first=0, SOME: tl.constexpr = 0
):  # fmt: skip
    """[step, over]: whether ``step`` decays by ``over`` up to where its half meets the other.

    ``OWN``: a late step decays by itself too. ``SOME``: steps to decay by, from ``first``.
    """
    start, end = _reach(halving, BLOCK_T, OWN)
    _, at = _distance(halving, first, SOME if SOME else BLOCK_T)
    return (at[None, :] >= start[:, None]) & (at[None, :] < end[:, None])


@triton.jit
def passed_across(
    halving, BLOCK_T: tl.constexpr, OWN: tl.constexpr, first=0, SOME: tl.constexpr = 0
):  # fmt: skip
    """``passed`` as [over, step]."""
    start, end = _reach(halving, BLOCK_T, OWN)
    _, at = _distance(halving, first, SOME if SOME else BLOCK_T)
    return (at[:, None] >= start[None, :]) & (at[:, None] < end[None, :])


@triton.jit
def before(BLOCK_T: tl.constexpr):
    """[i, j]: whether j comes before i."""
    return tl.arange(0, BLOCK_T)[:, None] > tl.arange(0, BLOCK_T)[None, :]


@triton.jit
def behind(BLOCK_T: tl.constexpr):
    """[i, j]: whether j comes behind i."""
    return tl.arange(0, BLOCK_T)[:, None] < tl.arange(0, BLOCK_T)[None, :]


@triton.jit
def sums(over, x):
    """Sums of x [C, K] over the steps that ``over`` [C, C] names; to 16 bits unless it asks for 32.

    ``over`` comes as zeros and ones of the input's dtype.
    """
    if over.dtype == tl.float32:
        total = tl.dot(over, x, input_precision="ieee")
    else:
        over = over.to(tl.bfloat16)
        total = tl.zeros((x.shape[0], x.shape[1]), tl.float32)
        # one at a time: operands of both leave no registers
        for turn in tl.range(2, disable_licm=True):
            high = x.to(tl.bfloat16)
            part = tl.where(turn == 0, high, (x - high).to(tl.bfloat16))
            total = tl.dot(over, part, total)
    return total


@triton.jit
def step_decays(
    g_ptr, row, left, head, channel, H, K, halving,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, OWN: tl.constexpr, ACROSS: tl.constexpr,
):  # fmt: skip
    """What each step passes in a halving, in the last, one too many, up to the end of its chunk.

    From the start of the chunk if ``halving`` is None. In a loop of its own, of two turns: of
    products that feed each other in one region every warp of an older card holds all columns.
    """
    HALF: tl.constexpr = 16 if BLOCK_T < 32 else BLOCK_T // 2
    total = tl.zeros((TILE_K, BLOCK_T) if ACROSS else (BLOCK_T, TILE_K), tl.float32)
    for first in tl.range(0, BLOCK_T, HALF, disable_licm=True):
        g = load_chunk(g_ptr, row + first, left - first, head, H, K, HALF, TILE_K, channel)
        # exp of it is 0 too, and zero times infinity is none; Triton 3.6 leaves it in float32
        g = tl.maximum(g, -1e4).to(g_ptr.dtype.element_ty)
        if ACROSS:
            if halving is None:
                steps = tl.arange(0, BLOCK_T)[None, :] + OWN
                over = (first + tl.arange(0, HALF))[:, None] < steps
            else:
                over = passed_across(halving, BLOCK_T, OWN, first=first, SOME=HALF)
            total = tl.dot(tl.trans(g), over.to(g.dtype), total, input_precision="ieee")
        else:
            if halving is None:
                steps = tl.arange(0, BLOCK_T)[:, None] + OWN
                over = (first + tl.arange(0, HALF))[None, :] < steps
            else:
                over = passed(halving, BLOCK_T, OWN, first=first, SOME=HALF)
            total = tl.dot(over.to(g.dtype), g, total, input_precision="ieee")
    return tl.exp2(total * LOG2_E)


@triton.jit
def rated_rows(
    y_ptr, rate_ptr, row, left, head, channel, H, K,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """Rows of y, times a rate for each channel if there is a ``rate_ptr``; in the dtype of y."""
    y = load_chunk(y_ptr, row, left, head // GROUP, H // GROUP, K, BLOCK_T, TILE_K, channel)
    if rate_ptr is not None:
        y = (y * load_chunk(rate_ptr, row, left, head, H, K, BLOCK_T, TILE_K, channel)).to(y.dtype)
    return y


@triton.jit
def decayed_scores(
    x_ptr, y_ptr, rate_ptr, g_ptr, row, left, head, H, K,
    BLOCK_T: tl.constexpr, TILE_K: tl.constexpr, GROUP: tl.constexpr, HALVINGS: tl.constexpr,
    OWN: tl.constexpr,
):  # fmt: skip
    """X y^T with the decays between late steps i of x and early j of y; no more than finite for i < j.

    Its transpose where x is what is early and y what is late. The rate is that of ``rated_rows``.
    """
    dtype = x_ptr.dtype.element_ty
    group, groups = head // GROUP, H // GROUP
    scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    for channel in tl.range(0, K, TILE_K, disable_licm=True):
        x = load_chunk(x_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel)
        y = rated_rows(y_ptr, rate_ptr, row, left, head, channel, H, K, BLOCK_T, TILE_K, GROUP)
        scores = tl.dot(x, tl.trans(y), scores, input_precision="ieee")
    # what lies below the diagonal meets once and is replaced: nothing is added up after it is rounded
    scores = scores.to(dtype)
    for halving in tl.range(HALVINGS, disable_licm=True):
        met = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
        # loaded anew for each halving: held, they spill
        for channel in tl.range(0, K, TILE_K, disable_licm=True):
            y = rated_rows(y_ptr, rate_ptr, row, left, head, channel, H, K, BLOCK_T, TILE_K, GROUP)
            y = tl.trans(y) * step_decays(
                g_ptr, row, left, head, channel, H, K, halving, BLOCK_T, TILE_K, OWN, ACROSS=True
            )
            # no load passes a barrier: what is loaded ahead takes registers
            tl.debug_barrier()
            x = load_chunk(x_ptr, row, left, group, groups, K, BLOCK_T, TILE_K, channel)
            x *= step_decays(
                g_ptr, row, left, head, channel, H, K, halving, BLOCK_T, TILE_K, OWN, ACROSS=False
            )
            met = tl.dot(x.to(dtype), y.to(dtype), met, input_precision="ieee")
        scores = tl.where(meeting(halving, BLOCK_T), met.to(scores.dtype), scores)
    return scores


@triton.jit
def mirrored_scores(
    x_ptr, x_row, y_ptr, y_row, left, head, H, V, BLOCK_T: tl.constexpr, BLOCK_V: tl.constexpr
):  # fmt: skip
    """Products of x and y, above the diagonal those from below mirrored, and the diagonal [C, 1].

    Both are computed, for a dot with a transposed accumulator is miscompiled.
    """
    scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    mirrored = scores
    for first in tl.range(0, V, BLOCK_V, disable_licm=True):
        y = load_chunk(y_ptr, y_row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        x = load_chunk(x_ptr, x_row, left, head, H, V, BLOCK_T, BLOCK_V, first)
        scores = tl.dot(x, tl.trans(y), scores, input_precision="ieee")
        mirrored = tl.dot(y, tl.trans(x), mirrored, input_precision="ieee")
    scores = tl.where(behind(BLOCK_T), mirrored, scores)
    steps = tl.arange(0, BLOCK_T)
    same = tl.sum(tl.where(steps[:, None] == steps[None, :], scores, 0.0), axis=1)
    return scores.to(x_ptr.dtype.element_ty), same[:, None]


@triton.jit
def met_gradients(
    scores, dx, dy, x, y, decay, halving, BLOCK_T: tl.constexpr
):  # fmt: skip
    """The gradients of x and y with those of a halving through mirrored ``scores``, and of its paths."""
    is_late = late(tl.arange(0, BLOCK_T), halving)[:, None]
    keys = tl.where(is_late, x, y)
    meets = tl.where(meeting(halving, BLOCK_T), scores, 0.0).to(scores.dtype)
    got = tl.dot(meets, (keys * decay).to(scores.dtype), input_precision="ieee") * decay
    return dx + tl.where(is_late, got, 0.0), dy + tl.where(is_late, 0.0, got), keys * got
