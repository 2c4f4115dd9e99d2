# pyright: basic, reportArgumentType=false
"""Halved decays on chip: what each step of a chunk decays by up to where two halves of it meet.

A chunk of C steps is halved log2(C) times (``impl/common/halved_decays.py`` says why). Where halves of
``1 << halving`` steps meet, an early step decays from behind itself to the end of its half, and a late one
from the start of its half to before itself: what a late step reads after its own decay is scaled by
that beforehand, or passes its ``OWN`` decay too, so one exponential a step, channel and halving serves
every triangle. The sums of the logarithms are products with zeros and ones, exact in any dtype, on
matrix cores. They come as [C, K] or, as ``across``, as [K, C], for a product may not read a transposed
accumulator: Triton 3.4 to 3.7.0 miscompiles that on Hopper.
"""

import triton
import triton.language as tl

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
def handed_on(halving, BLOCK_T: tl.constexpr):
    """[early, late]: whether two steps lie so in the two halves of one block."""
    half = tl.arange(0, BLOCK_T) >> halving
    other = tl.where(half & 1 == 1, half - 1, -1)
    return half[:, None] == other[None, :]


@triton.jit
def _distance(halving, first, SOME: tl.constexpr):
    """First step of each step's half, and that plus the steps between it and the meeting point.

    Computed anew for each halving: compilers hold what does not change in [C, C] registers.
    """
    steps = first + tl.arange(0, SOME)
    within = (1 << halving) - 1
    start = steps & ~within
    away = tl.where(late(steps, halving), steps, ~steps) & within
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
    halving, BLOCK_T: tl.constexpr, OWN: tl.constexpr = 0, first=0, SOME: tl.constexpr = 0
):  # fmt: skip
    """[step, over]: whether ``step`` decays by ``over`` up to where its half meets the other.

    ``OWN``: a late step decays by itself too. ``SOME``: steps to decay by, from ``first``.
    """
    start, end = _reach(halving, BLOCK_T, OWN)
    _, at = _distance(halving, first, SOME if SOME else BLOCK_T)
    return (at[None, :] >= start[:, None]) & (at[None, :] < end[:, None])


@triton.jit
def passed_across(
    halving, BLOCK_T: tl.constexpr, OWN: tl.constexpr = 0, first=0, SOME: tl.constexpr = 0
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
def decays(over, g):
    """``exp`` of the sums of g [C, K] over the steps that ``over`` [step, over] names; as [C, K]."""
    return tl.exp2(tl.dot(over.to(g.dtype), g, input_precision="ieee") * LOG2_E)


@triton.jit
def decays_across(g, over):
    """``exp`` of the sums of g [K, C] over the steps that ``over`` [over, step] names; as [K, C]."""
    return tl.exp2(tl.dot(g, over.to(g.dtype), input_precision="ieee") * LOG2_E)


@triton.jit
def sums(over, x):
    """Sums of x [C, K] over the steps that ``over`` [C, C] names; to 16 bits unless it asks for 32.

    ``over`` comes as zeros and ones of the input's dtype.
    """
    if over.dtype == tl.float32:
        total = tl.dot(over, x, input_precision="ieee")
    else:
        high = x.to(tl.bfloat16)
        over = over.to(tl.bfloat16)
        total = tl.dot(over, high)
        total = tl.dot(over, (x - high).to(tl.bfloat16), total)
    return total
