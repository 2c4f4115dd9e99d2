# pyright: basic, reportArgumentType=false, reportGeneralTypeIssues=false, reportCallIssue=false
"""Small kernels for the tests of the engine; a kernel must live in a file to be compiled."""

import torch
import triton
import triton.language as tl


@triton.jit
def _scale_kernel(x_ptr, y_ptr, size, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < size, other=0.0)
    tl.store(y_ptr + at, 2 * x, mask=at < size)


@triton.jit
def _doubling_kernel(source_ptr, target_ptr, size, BLOCK: tl.constexpr):
    """The scaling kernel in other words, on other lines."""
    first = tl.program_id(0) * BLOCK
    here = first + tl.arange(0, BLOCK)
    value = tl.load(source_ptr + here, mask=here < size, other=0.0)
    tl.store(target_ptr + here, 2 * value, mask=here < size)


@triton.jit
def _product_kernel(a_ptr, b_ptr, c_ptr, N: tl.constexpr):
    row, column = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    a = tl.load(a_ptr + row * N + column)
    b = tl.load(b_ptr + row * N + column)
    tl.store(c_ptr + row * N + column, tl.dot(a, b))


@triton.jit
def _staged_kernel(a_ptr, b_ptr, c_ptr, K, N: tl.constexpr, STAGES: tl.constexpr):
    """Multiply over K in tiles of N, with STAGES tiles of each operand in flight."""
    row, column = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    c = tl.zeros((N, N), tl.float32)
    for k in tl.range(0, K, N, num_stages=STAGES):
        a = tl.load(a_ptr + row * K + k + column)
        b = tl.load(b_ptr + (k + row) * N + column)
        c = tl.dot(a, b, c)
    tl.store(c_ptr + row * N + column, c)


@triton.jit
def _greedy_kernel(x_ptr, y_ptr, steps, N: tl.constexpr):
    """Holds N x N values in the registers of one warp, more than there are."""
    row, column = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    kept = tl.load(x_ptr + row * N + column)
    sums = tl.load(x_ptr + column * N + row)
    for _ in range(steps):
        sums = sums * kept + kept
        kept = kept + sums
    tl.store(y_ptr + row * N + column, sums + kept)


_tuned_kernel = triton.autotune(
    [triton.Config({"BLOCK": 128}), triton.Config({"BLOCK": 256})], key=["size"]
)(_scale_kernel)


def scale(x: torch.Tensor, kernel=_scale_kernel) -> torch.Tensor:
    """2 x."""
    y = torch.empty_like(x)
    kernel[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), BLOCK=1024)
    return y


def scale_tuned(x: torch.Tensor) -> torch.Tensor:
    """2 x, in a block size chosen by measurement."""
    y = torch.empty_like(x)
    _tuned_kernel[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, x.numel())
    return y


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A b, one block."""
    c = torch.empty(a.shape, dtype=torch.float32)
    _product_kernel[(1,)](a, b, c, N=a.shape[0])
    return c


def staged(a: torch.Tensor, b: torch.Tensor, stages: int) -> torch.Tensor:
    """A b in square tiles, one block."""
    c = torch.empty(a.shape[0], b.shape[1], dtype=torch.float32)
    _staged_kernel[(1,)](a, b, c, a.shape[1], N=a.shape[0], STAGES=stages)
    return c


def greedy(x: torch.Tensor) -> torch.Tensor:
    """Something that spills."""
    y = torch.empty_like(x)
    _greedy_kernel[(1,)](x, y, 7, N=x.shape[0], num_warps=1)
    return y


class Doubled(torch.autograd.Function):
    """2 x, whose gradient is a kernel too."""

    @staticmethod
    def forward(ctx, x):
        return scale(x)

    @staticmethod
    def backward(ctx, grad):
        return product(grad, grad.contiguous())
