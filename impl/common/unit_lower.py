# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false
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
    """``(I + below)^-1``, float32; ``below`` is zero above its diagonal, which is not read.

    ``PRECISION`` is that of a ``tl.dot``, or ``halves``: 16 bits of each product, on matrix cores.
    """
    if INVERSE == "newton":
        inverse = newton_inverse(below, PRECISION, BLOCK_T)
    elif INVERSE == "substitution":
        inverse = substituted_inverse(below, BLOCK_T)
    else:
        inverse = doubled_inverse(below, PRECISION, BLOCK_T, BLOCK_T)
    return inverse


@triton.jit
def _product(a, b, PRECISION: tl.constexpr):
    """``a b`` in float32; as ``halves``, of twice the digits of bfloat16, in three products of it.

    They take turns at one instruction, for operands of all three at once leave no registers, and in a
    loop of its own: of products that feed each other every warp of an older card holds all columns.
    """
    if PRECISION == "halves":
        found = tl.zeros((a.shape[0], b.shape[1]), tl.float32)
        for turn in tl.range(3, disable_licm=True):
            a_high, b_high = a.to(tl.bfloat16), b.to(tl.bfloat16)
            a_part = tl.where(turn == 0, (a - a_high).to(tl.bfloat16), a_high)
            b_part = tl.where(turn == 1, (b - b_high).to(tl.bfloat16), b_high)
            found = tl.dot(a_part, b_part, found)
    else:
        found = tl.dot(a, b, input_precision=PRECISION)
    return found


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
        joined = _product(joining, inverse, PRECISION)
        inverse -= _product(inverse, joined, PRECISION)
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
        left = one - inverse - _product(below, inverse, PRECISION)
        inverse += _product(inverse, left, PRECISION)
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
