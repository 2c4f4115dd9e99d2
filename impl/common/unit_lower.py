# pyright: basic, reportArgumentType=false
"""Unit lower triangular inverses on chip: X = (I + A)^-1 of a tile of C steps, A below the diagonal.

doubling      Inverses of diagonal blocks double in size: X becomes X - X L X, L the part of A between
              the blocks that now share one. From blocks of 2: 2 log2(C / 2) products.
newton        X becomes X + X (I - (I + A) X), from X = I - A. What is left, I - (I + A) X = A^2, is
              squared each time, and A^C is zero: exact after as many products. But X passes through
              sums of powers of A, which with keys alike grow as binomial coefficients and must cancel.
substitution  Row i of X is that of I less A[i] X, from the top: no product, C - 1 dependent steps.
"""

import triton
import triton.language as tl


@triton.jit
def unit_lower_inverse(
    below, INVERSE: tl.constexpr, PRECISION: tl.constexpr, BLOCK_T: tl.constexpr
):  # fmt: skip
    """``(I + below)^-1``, float32; ``below`` is zero above its diagonal, which is not read."""
    if INVERSE == "newton":
        inverse = newton_inverse(below, PRECISION, BLOCK_T)
    elif INVERSE == "substitution":
        inverse = substituted_inverse(below, BLOCK_T)
    else:
        inverse = doubled_inverse(below, PRECISION, BLOCK_T, BLOCK_T)
    return inverse


@triton.jit
def doubled_inverse(
    below, PRECISION: tl.constexpr, BLOCK: tl.constexpr, BLOCK_T: tl.constexpr
):  # fmt: skip
    """Inverses of the diagonal blocks of ``BLOCK`` steps, zero elsewhere."""
    i, j = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    inverse = tl.where(i == j, 1.0, tl.where((i ^ j) == 1, -below, 0.0))
    size = 2
    while size < BLOCK:
        joining = tl.where((i // size) ^ (j // size) == 1, below, 0.0)
        joined = tl.dot(joining, inverse, input_precision=PRECISION)
        inverse -= tl.dot(inverse, joined, input_precision=PRECISION)
        size *= 2
    return inverse


@triton.jit
def newton_inverse(below, PRECISION: tl.constexpr, BLOCK_T: tl.constexpr):
    """Newton's iteration, the order of what is left doubling from 2 to ``BLOCK_T``."""
    i, j = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    below = tl.where(i > j, below, 0.0)
    one = tl.where(i == j, 1.0, 0.0)
    inverse = one - below
    order = 2
    while order < BLOCK_T:
        left = one - inverse - tl.dot(below, inverse, input_precision=PRECISION)
        inverse += tl.dot(inverse, left, input_precision=PRECISION)
        order *= 2
    return inverse


@triton.jit
def substituted_inverse(below, BLOCK_T: tl.constexpr):
    """Forward substitution, row by row."""
    i, j = tl.arange(0, BLOCK_T)[:, None], tl.arange(0, BLOCK_T)[None, :]
    below = tl.where(i > j, below, 0.0)
    inverse = tl.where(i == j, 1.0, 0.0)
    for row in range(1, BLOCK_T):
        weights = tl.sum(tl.where(i == row, below, 0.0), axis=0)  # [BLOCK_T]
        solved = tl.sum(weights[:, None] * inverse, axis=0)
        inverse -= tl.where(i == row, solved[None, :], 0.0)
    return inverse
