# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""The interpreter computes what a GPU computes, refuses what a GPU cannot, and leaves no trace."""

import pytest
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.language.extra import libdevice

from correctness.interpreter import Observer, OutOfBounds, interpret


@triton.jit
def _arithmetic_kernel(x_ptr, y_ptr, o_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    y = tl.load(y_ptr + i)
    tl.store(o_ptr + i, x + y)
    tl.store(o_ptr + N + i, x * y)
    tl.store(o_ptr + 2 * N + i, x / y)
    tl.store(o_ptr + 3 * N + i, tl.where(x > y, x, y))
    tl.store(o_ptr + 4 * N + i, tl.maximum(x, -y))
    tl.store(o_ptr + 5 * N + i, x * 3.0 + tl.abs(y))


@triton.jit
def _cast_kernel(x_ptr, o_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(o_ptr + i, tl.load(x_ptr + i).to(o_ptr.dtype.element_ty))


@triton.jit
def _dot_kernel(a_ptr, b_ptr, o_ptr, N: tl.constexpr, PRECISION: tl.constexpr):
    i = tl.arange(0, N)
    place = i[:, None] * N + i[None, :]
    o = tl.dot(tl.load(a_ptr + place), tl.load(b_ptr + place), input_precision=PRECISION)
    tl.store(o_ptr + place, o)


@triton.jit
def _affine(a, b, c, d):
    return a * c, b * c + d


@triton.jit
def _recurrence_kernel(a_ptr, b_ptr, h_ptr, T: tl.constexpr, D: tl.constexpr, BACK: tl.constexpr):
    place = tl.arange(0, T)[:, None] * D + tl.arange(0, D)[None, :]
    a = tl.load(a_ptr + place)
    b = tl.load(b_ptr + place)
    _, h = tl.associative_scan((a, b), 0, _affine, reverse=BACK)
    tl.store(h_ptr + place, h)


@triton.jit
def _keep_left(a, b):
    return a + 0.0 * b


@triton.jit
def _reduction_kernel(x_ptr, o_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i[:, None] * N + i[None, :])
    tl.store(o_ptr + i, tl.sum(x, 1))
    tl.store(o_ptr + N + i, tl.max(x, 0))
    tl.store(o_ptr + 2 * N + i, tl.argmin(x, 1).to(tl.float32))
    tl.store(o_ptr + 3 * N + i, tl.reduce(x, -1, _keep_left))
    tl.store(o_ptr + 4 * N + i, tl.sum(x) + tl.zeros((N,), tl.float32))
    tl.store(o_ptr + 5 * N + i, tl.sum(tl.reduce(x, 0, _keep_left, keep_dims=True), 0))


@triton.jit
def _count_kernel(count_ptr, N: tl.constexpr):
    # every lane of every program adds to one address
    tl.atomic_add(
        count_ptr + tl.zeros((N,), tl.int32), tl.full((N,), 1, count_ptr.dtype.element_ty)
    )


@triton.jit
def _copy_kernel(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(o_ptr + i, tl.load(x_ptr + i, mask=i < n, other=0.0), mask=i < n)


@triton.jit
def _undefined_lanes_kernel(x_ptr, o_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(o_ptr, tl.sum(tl.load(x_ptr + i, mask=i < n)))


@triton.jit
def _scalar_kernel(x_ptr, o_ptr, n, OTHER: tl.constexpr):
    tl.store(o_ptr, tl.load(x_ptr, mask=n > 0, other=OTHER))


@triton.jit
def _quotient_kernel(x_ptr, y_ptr, o_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(o_ptr + i, tl.load(x_ptr + i) / tl.load(y_ptr + i))


@triton.jit
def _scale_kernel(x_ptr, o_ptr, scale, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(o_ptr + i, tl.load(x_ptr + i) * scale)


@triton.jit
def _tanh_kernel(x_ptr, o_ptr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(o_ptr + i, libdevice.tanh(tl.load(x_ptr + i)))


@triton.jit
def _loop_kernel(x_ptr, o_ptr, n, N: tl.constexpr):
    i = tl.arange(0, N)
    total = tl.zeros((N,), tl.float32)
    for t in range(n):
        if t > 0:
            total += tl.load(x_ptr + t.to(tl.int64) * N + i)
    tl.store(o_ptr + i, total)


@triton.jit
def _condition_kernel(x_ptr, N: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, N))
    if x > 0:
        tl.store(x_ptr, 0.0)


@triton.jit
def _mismatch_kernel(x_ptr):
    tl.store(x_ptr + tl.arange(0, 16), tl.load(x_ptr + tl.arange(0, 16)) + tl.arange(0, 32))


_tuned_copy_kernel = triton.autotune(
    [triton.Config({"BLOCK": 16}), triton.Config({"BLOCK": 32})], ["n"]
)(_copy_kernel)


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        o = torch.empty_like(x)
        _scale_kernel[(1,)](x, o, 2.0, x.numel())
        return o

    @staticmethod
    def backward(ctx, grad):
        return _Double.apply(grad.contiguous())


class _Log(Observer):
    def __init__(self):
        self.events = []

    def launch(self, kernel, grid, extents):
        self.events.append(
            (kernel, grid, [(part.name, part.stop - part.start) for part in extents.parts])
        )

    def access(self, kind, addresses, itemsize, program):
        self.events.append((kind, addresses.size * itemsize, program))

    def finish(self):
        self.events.append("finish")


def _random(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_arithmetic_rounds_like_torch(dtype):
    x, y = _random(2, 256, dtype=dtype)
    o = torch.empty(6, 256, dtype=dtype)
    with interpret():
        _arithmetic_kernel[(1,)](x, y, o, 256)
    same = [x + y, x * y, x / y, torch.maximum(x, y), torch.maximum(x, -y), x * 3.0 + y.abs()]
    torch.testing.assert_close(o, torch.stack(same), rtol=0, atol=0)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_casts_round_to_nearest_even(dtype):
    # halves of an ulp, both signs, on top of random numbers: where truncation and RTNE part
    ties = torch.arange(1024) / 1024 + 1
    x = torch.cat([ties, -ties, _random(2048)])
    o = torch.empty(4096, dtype=dtype)
    back = torch.empty(4096)
    with interpret():
        _cast_kernel[(1,)](x, o, 4096)
        _cast_kernel[(1,)](o, back, 4096)
    assert torch.equal(o.float(), x.to(dtype).float())
    assert torch.equal(back, o.float())


def test_bfloat16_keeps_infinity_and_nan():
    x = torch.tensor([torch.inf, -torch.inf, torch.nan, 3.4e38]).repeat(4)
    o = torch.empty(16, dtype=torch.bfloat16)
    with interpret():
        _cast_kernel[(1,)](x, o, 16)
    torch.testing.assert_close(o, x.bfloat16(), equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dot_accumulates_half_operands_in_float32(dtype):
    a, b = _random(2, 64, 64, dtype=dtype)
    o = torch.empty(64, 64)
    with interpret():
        _dot_kernel[(1,)](a, b, o, 64, "ieee")
    exact = a.double() @ b.double()
    assert (o - exact).abs().max() <= 64 * torch.finfo(torch.float32).eps * exact.abs().max()


def test_dot_precision_follows_the_option():
    a, b = _random(2, 64, 64)
    exact = a.double() @ b.double()
    error = {}
    with interpret():
        for precision in ("ieee", "tf32x3", "tf32"):
            o = torch.empty(64, 64)
            _dot_kernel[(1,)](a, b, o, 64, precision)
            error[precision] = ((o - exact).norm() / exact.norm()).item()
    assert error["ieee"] < 1e-6
    assert error["tf32x3"] < 1e-6
    # a tensor core reads 10 mantissa bits
    assert 2**-13 < error["tf32"] < 2**-9


def test_dot_too_small_for_a_tensor_core_is_refused():
    a, b = _random(2, 8, 8, dtype=torch.bfloat16)
    with interpret(), pytest.raises(AssertionError, match="K >= 16"):
        _dot_kernel[(1,)](a, b, torch.empty(8, 8), 8, "ieee")


@pytest.mark.parametrize("back", [False, True])
def test_scan_runs_either_way(back):
    a, b = torch.rand(2, 64, 16)
    h = torch.empty(64, 16)
    with interpret():
        _recurrence_kernel[(1,)](a, b, h, 64, 16, back)
    state, want = torch.zeros(16), torch.empty(64, 16)
    for t in reversed(range(64)) if back else range(64):
        state = a[t] * state + b[t]
        want[t] = state
    torch.testing.assert_close(h, want)


def test_reductions_match_torch():
    x = _random(32, 32)
    o = torch.empty(6, 32)
    with interpret():
        _reduction_kernel[(1,)](x, o, 32)
    want = [x.sum(1), x.amax(0), x.argmin(1).float(), x[:, 0], x.sum().expand(32), x[0]]
    torch.testing.assert_close(o, torch.stack(want))


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32, torch.float16, torch.bfloat16])
def test_atomics_lose_no_update(dtype):
    count = torch.zeros(1, dtype=dtype)
    with interpret():
        _count_kernel[(5,)](count, 16)
    assert count.item() == 5 * 16


@pytest.mark.parametrize("n", [65, 1 << 20])
def test_wrong_mask_is_out_of_bounds(n):
    with interpret(), pytest.raises(OutOfBounds, match="of x_ptr, want 0 to 255"):
        _copy_kernel[(2,)](torch.zeros(64), torch.zeros(4096), n, 64)


def test_neighbour_in_the_same_storage_is_out_of_bounds():
    whole = torch.zeros(128)
    with interpret(), pytest.raises(OutOfBounds, match="o_ptr"):
        _copy_kernel[(1,)](torch.zeros(128), whole[:64], 128, 128)
    assert torch.equal(whole, torch.zeros(128))


def test_right_mask_is_within_bounds():
    x, o = _random(70), torch.zeros(70)
    with interpret():
        _copy_kernel[(2,)](x, o, 70, 64)
    assert torch.equal(x, o)


def test_error_names_kernel_and_program():
    with interpret(), pytest.raises(OutOfBounds) as caught:
        _copy_kernel[(3,)](torch.zeros(64), torch.zeros(64), 200, 32)
    assert caught.value.__notes__ == ["in _copy_kernel, program (2, 0, 0) of (3, 1, 1)"]


def test_undefined_lanes_poison_the_result():
    o = torch.zeros(1)
    with interpret():
        _undefined_lanes_kernel[(1,)](torch.ones(10), o, 10, 16)
    assert o.isnan().all()


@pytest.mark.parametrize("other", [0.0, 2.0])
def test_masked_scalar_load_gives_other(other):
    o = torch.ones(1)
    with interpret():
        _scalar_kernel[(1,)](torch.ones(1), o, 0, other)
    assert o.item() == other


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_quotient_of_halves_is_float32(dtype):
    x, y = _random(2, 64, dtype=dtype)
    o = torch.empty(64)
    with interpret():
        _quotient_kernel[(1,)](x, y, o, 64)
    assert torch.equal(o, x.float() / y.float())


def test_float_argument_is_float32():
    # 0.1 in bfloat16 would round the product twice
    x, o = _random(64, dtype=torch.bfloat16), torch.empty(64)
    with interpret():
        _scale_kernel[(1,)](x, o, 0.1, 64)
    assert torch.equal(o, x.float() * 0.1)


def test_libdevice_is_known():
    x, o = _random(64), torch.empty(64)
    with interpret():
        _tanh_kernel[(1,)](x, o, 64)
    torch.testing.assert_close(o, x.tanh())


def test_loop_index_is_a_tensor():
    x, o = _random(5, 16), torch.empty(16)
    with interpret():
        _loop_kernel[(1,)](x, o, 5, 16)
    torch.testing.assert_close(o, x[1:].sum(0))


def test_block_as_condition_is_refused():
    with interpret(), pytest.raises(ValueError, match="block of shape"):
        _condition_kernel[(1,)](torch.zeros(16), 16)


def test_blocks_that_do_not_broadcast_are_refused():
    with interpret(), pytest.raises(ValueError, match="shape mismatch"):
        _mismatch_kernel[(1,)](torch.zeros(64))


def test_autotuner_takes_its_first_configuration():
    x, o, log = _random(64), torch.zeros(64), _Log()
    with interpret(log):
        _tuned_copy_kernel[lambda meta: (triton.cdiv(64, meta["BLOCK"]),)](x, o, 64)
    assert torch.equal(x, o)
    assert log.events[0][1] == (4, 1, 1)


def test_backward_is_interpreted_too():
    x = _random(16).requires_grad_()
    with interpret():
        _Double.apply(x).sum().backward()
    assert torch.equal(x.grad, torch.full((16,), 2.0))


def test_nested_use_keeps_the_outer_context():
    outer, inner = _Log(), _Log()
    x, o = _random(16), torch.zeros(16)
    with interpret(outer):
        with interpret(inner):
            _copy_kernel[(1,)](x, o, 16, 16)
        _copy_kernel[(1,)](x, o, 16, 16)
    assert len(inner.events) == 4
    assert outer.events == inner.events * 2


def test_observer_sees_bytes_and_programs():
    log = _Log()
    with interpret(log):
        _copy_kernel[(2,)](torch.zeros(24), torch.zeros(24, dtype=torch.float64), 24, 16)
    name, grid, extents = log.events[0]
    assert (name, grid) == ("_copy_kernel", (2, 1, 1))
    assert sorted(extents) == [("o_ptr", 192), ("x_ptr", 96)]
    assert log.events[1:] == [
        ("load", 64, (0, 0, 0)),
        ("store", 128, (0, 0, 0)),
        ("load", 32, (1, 0, 0)),
        ("store", 64, (1, 0, 0)),
        "finish",
    ]


def test_language_and_compiler_are_as_before():
    def state():
        owners = (tl, tl.core, tl.tensor, tl.dtype, libdevice, triton.JITFunction)
        return {(owner, name): value for owner in owners for name, value in vars(owner).items()}

    before, names = state(), set(_copy_kernel.fn.__globals__)
    with interpret(), pytest.raises(OutOfBounds):
        _copy_kernel[(1,)](torch.zeros(8), torch.zeros(16), 16, 16)
    assert state() == before
    assert set(_copy_kernel.fn.__globals__) == names


def test_kernels_compile_afterwards():
    with interpret():
        _copy_kernel[(1,)](torch.zeros(16), torch.zeros(16), 16, 16)
    signature = {"x_ptr": "*fp32", "o_ptr": "*fp32", "n": "i32", "BLOCK": "constexpr"}
    source = triton.compiler.ASTSource(_copy_kernel, signature, {(3,): 64})
    compiled = triton.compile(source, GPUTarget("cuda", 90, 32), {"enable_fp_fusion": True})
    assert ".visible .entry _copy_kernel" in compiled.asm["ptx"]


def test_misspelled_argument_is_refused():
    with interpret(), pytest.raises(TypeError, match="has no argument BLOK"):
        _copy_kernel[(1,)](torch.zeros(16), torch.zeros(16), 16, BLOK=16)


def test_tensor_elsewhere_is_refused():
    with interpret(), pytest.raises(ValueError, match="x_ptr is a meta tensor"):
        _copy_kernel[(1,)](torch.zeros(16, device="meta"), torch.zeros(16), 16, 16)
