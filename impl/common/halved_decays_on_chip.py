# pyright: basic, reportArgumentType=false, reportAssignmentType=false, reportOperatorIssue=false
"""Halved decays on chip: the decays of a block of steps and the gradient of their logarithms.

A chunk of C steps is halved log2(C) times (``impl/common/halved_decays.py`` says why). In every block
of ``size`` steps a channel decays from the block's start to a step, and from a step to its end. The
sums of the logarithms are products with triangles of ones, exact in any dtype, on matrix cores. They
come as [C, K] or, as ``transposed``, as [K, C], for a product may not read a transposed accumulator:
Triton 3.4 to 3.7.0 miscompiles that on Hopper.
"""

import triton
import triton.language as tl

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def decays_since(g, size, BLOCK_T: tl.constexpr):
    """From the start of its block to each step, that included."""
    to, step = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    taken = (step // size == to // size) & (step <= to)
    return tl.exp2(tl.dot(taken.to(g.dtype), g, input_precision="ieee") * LOG2_E)


@triton.jit
def decays_before(g, size, BLOCK_T: tl.constexpr):
    """From the start of its block to each step, that left out."""
    to, step = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    taken = (step // size == to // size) & (step < to)
    return tl.exp2(tl.dot(taken.to(g.dtype), g, input_precision="ieee") * LOG2_E)


@triton.jit
def decays_behind(g, size, BLOCK_T: tl.constexpr):
    """From each step, that left out, to the end of its block."""
    to, step = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    taken = (step // size == to // size) & (step > to)
    return tl.exp2(tl.dot(taken.to(g.dtype), g, input_precision="ieee") * LOG2_E)


@triton.jit
def decays_since_transposed(g, size, BLOCK_T: tl.constexpr):
    """``decays_since`` as [K, C]."""
    step, to = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    taken = (step // size == to // size) & (step <= to)
    return tl.exp2(tl.dot(tl.trans(g), taken.to(g.dtype), input_precision="ieee") * LOG2_E)


@triton.jit
def decays_before_transposed(g, size, BLOCK_T: tl.constexpr):
    """``decays_before`` as [K, C]."""
    step, to = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    taken = (step // size == to // size) & (step < to)
    return tl.exp2(tl.dot(tl.trans(g), taken.to(g.dtype), input_precision="ieee") * LOG2_E)


@triton.jit
def decays_behind_transposed(g, size, BLOCK_T: tl.constexpr):
    """``decays_behind`` as [K, C]."""
    step, to = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    taken = (step // size == to // size) & (step > to)
    return tl.exp2(tl.dot(tl.trans(g), taken.to(g.dtype), input_precision="ieee") * LOG2_E)


@triton.jit
def parted(size, BLOCK_T: tl.constexpr):
    """[late, early]: whether two steps lie in the halves, of ``size`` steps each, of one block."""
    late, early = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    return ((late // size) ^ (early // size) == 1) & (late > early)


@triton.jit
def parted_transposed(size, BLOCK_T: tl.constexpr):
    """``parted`` as [early, late]."""
    early, late = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    return ((late // size) ^ (early // size) == 1) & (late > early)


@triton.jit
def since_gradient(d_since, size, PRECISION: tl.constexpr, BLOCK_T: tl.constexpr):
    """The gradient of g from that of the exponents of ``decays_since``."""
    step, to = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    over = (step // size == to // size) & (step <= to)
    return tl.dot(over.to(tl.float32), d_since, input_precision=PRECISION)


@triton.jit
def before_gradient(d_before, size, PRECISION: tl.constexpr, BLOCK_T: tl.constexpr):
    """The gradient of g from that of the exponents of ``decays_before``."""
    step, to = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    over = (step // size == to // size) & (step < to)
    return tl.dot(over.to(tl.float32), d_before, input_precision=PRECISION)


@triton.jit
def behind_gradient(d_behind, size, PRECISION: tl.constexpr, BLOCK_T: tl.constexpr):
    """The gradient of g from that of the exponents of ``decays_behind``."""
    step, to = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    over = (step // size == to // size) & (step > to)
    return tl.dot(over.to(tl.float32), d_behind, input_precision=PRECISION)
