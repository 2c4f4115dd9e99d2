# pyright: basic, reportArgumentType=false, reportIndexIssue=false
"""The trace counts what paper and pencil count: exactly, for kernels and for eager ops."""

import subprocess
import sys

import pytest
import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

from bench.trace.traffic import trace
from correctness.interpreter import OutOfBounds

B, T, K, V, CHUNK = 2, 64, 16, 32, 16


@triton.jit
def _linear_attention_kernel(
    q_ptr, k_ptr, v_ptr, o_ptr, T, K: tl.constexpr, V: tl.constexpr, CHUNK: tl.constexpr
):
    b = tl.program_id(0).to(tl.int64)
    t, i, j = tl.arange(0, CHUNK), tl.arange(0, K), tl.arange(0, V)
    state = tl.zeros((K, V), tl.float32)
    for start in range(0, T, CHUNK):
        row = (b * T + start + t)[:, None]
        live = (start + t < T)[:, None]
        q = tl.load(q_ptr + row * K + i[None, :], live, 0.0)
        k = tl.load(k_ptr + row * K + i[None, :], live, 0.0)
        v = tl.load(v_ptr + row * V + j[None, :], live, 0.0)
        score = tl.dot(q, tl.trans(k), input_precision="ieee")
        score = tl.where(t[:, None] >= t[None, :], score, 0.0)
        o = tl.dot(score, v, input_precision="ieee") + tl.dot(q, state, input_precision="ieee")
        tl.store(o_ptr + row * V + j[None, :], o, live)
        state += tl.dot(tl.trans(k), v, input_precision="ieee")


@triton.jit
def _states_kernel(k_ptr, v_ptr, s_ptr, T, K: tl.constexpr, V: tl.constexpr, CHUNK: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    t, i, j = tl.arange(0, CHUNK), tl.arange(0, K), tl.arange(0, V)
    state = tl.zeros((K, V), tl.float32)
    for start in range(0, T, CHUNK):
        chunk = (b * T + start) // CHUNK
        tl.store(s_ptr + chunk * K * V + i[:, None] * V + j[None, :], state)
        row = (b * T + start + t)[:, None]
        k = tl.load(k_ptr + row * K + i[None, :])
        v = tl.load(v_ptr + row * V + j[None, :])
        state += tl.dot(tl.trans(k), v, input_precision="ieee")


@triton.jit
def _outputs_kernel(
    q_ptr, k_ptr, v_ptr, s_ptr, o_ptr, T, K: tl.constexpr, V: tl.constexpr, CHUNK: tl.constexpr
):
    b = tl.program_id(1).to(tl.int64)
    t, i, j = tl.arange(0, CHUNK), tl.arange(0, K), tl.arange(0, V)
    row = (b * T + tl.program_id(0) * CHUNK + t)[:, None]
    q = tl.load(q_ptr + row * K + i[None, :])
    k = tl.load(k_ptr + row * K + i[None, :])
    v = tl.load(v_ptr + row * V + j[None, :])
    chunk = b * (T // CHUNK) + tl.program_id(0)
    state = tl.load(s_ptr + chunk * K * V + i[:, None] * V + j[None, :])
    score = tl.dot(q, tl.trans(k), input_precision="ieee")
    score = tl.where(t[:, None] >= t[None, :], score, 0.0)
    o = tl.dot(score, v, input_precision="ieee") + tl.dot(q, state, input_precision="ieee")
    tl.store(o_ptr + row * V + j[None, :], o)


@triton.jit
def _matmul_kernel(a_ptr, b_ptr, c_ptr, N, TILE: tl.constexpr):
    i = tl.program_id(0) * TILE + tl.arange(0, TILE)
    j = tl.program_id(1) * TILE + tl.arange(0, TILE)
    total = tl.zeros((TILE, TILE), tl.float32)
    for start in range(0, N, TILE):
        n = start + tl.arange(0, TILE)
        a = tl.load(a_ptr + i[:, None] * N + n[None, :])
        b = tl.load(b_ptr + n[:, None] * N + j[None, :])
        total = tl.dot(a, b, total, input_precision="ieee")
    tl.store(c_ptr + i[:, None] * N + j[None, :], total)


@triton.jit
def _shift_kernel(x_ptr, o_ptr, STEP: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(o_ptr + i, tl.load(x_ptr + i + STEP))


@triton.jit
def _overlap_kernel(o_ptr):
    tl.store(o_ptr + tl.program_id(0) * 2 + tl.arange(0, 4), 1.0)


@triton.jit
def _add_kernel(x_ptr, y_ptr, o_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(o_ptr + i, tl.load(x_ptr + i) + tl.load(y_ptr + i))


@triton.jit
def _last_writes_kernel(x_ptr):
    x = tl.load(x_ptr)
    if tl.program_id(0) == tl.num_programs(0) - 1:
        tl.store(x_ptr, x + 1.0)


@triton.jit
def _erf_kernel(x_ptr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(x_ptr + i, libdevice.erf(tl.erf(tl.load(x_ptr + i))))


@triton.jit
def _sum_kernel(x_ptr, total_ptr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_add(total_ptr, tl.sum(tl.load(x_ptr + i)))


def _inputs(tokens=T):
    torch.manual_seed(0)
    return torch.randn(B, tokens, K), torch.randn(B, tokens, K), torch.randn(B, tokens, V)


def _fused(q, k, v):
    o = torch.empty_like(v)
    _linear_attention_kernel[(B,)](q, k, v, o, q.shape[1], K, V, CHUNK)
    return o


def _unfused(q, k, v):
    o, states = torch.empty_like(v), q.new_empty(B, T // CHUNK, K, V)
    _states_kernel[(B,)](k, v, states, T, K, V, CHUNK)
    _outputs_kernel[(T // CHUNK, B)](q, k, v, states, o, T, K, V, CHUNK)
    return o


def _reference(q, k, v):
    return (q @ k.mT).tril() @ v


@pytest.mark.parametrize("tokens", [T, T - 5])
def test_fused_kernel_moves_inputs_and_outputs_once(tokens):
    q, k, v = _inputs(tokens)
    seen = trace(lambda: _fused(q, k, v))
    torch.testing.assert_close(seen.result, _reference(q, k, v))
    assert seen.traffic == seen.requested == 4 * B * tokens * (2 * K + 2 * V)
    (launch,) = seen.steps
    assert (launch.name, launch.grid) == ("_linear_attention_kernel", (B, 1, 1))
    assert launch.read == {
        "q_ptr": 4 * B * tokens * K, "k_ptr": 4 * B * tokens * K, "v_ptr": 4 * B * tokens * V
    }  # fmt: skip
    assert launch.written == {"o_ptr": 4 * B * tokens * V}


def test_unfused_pair_moves_states_twice_and_reads_keys_again():
    q, k, v = _inputs()
    fused, unfused = trace(lambda: _fused(q, k, v)), trace(lambda: _unfused(q, k, v))
    torch.testing.assert_close(unfused.result, _reference(q, k, v))
    states, keys_and_values = 4 * B * (T // CHUNK) * K * V, 4 * B * T * (K + V)
    assert unfused.traffic - fused.traffic == 2 * states + keys_and_values
    assert (fused.launches, unfused.launches) == (1, 2)


def test_matrix_products_are_counted_by_hand():
    q, k, v = _inputs()
    seen = trace(lambda: _fused(q, k, v))
    chunks = B * T // CHUNK
    assert seen.flops == chunks * 2 * (CHUNK * CHUNK * K + CHUNK * CHUNK * V + 2 * CHUNK * K * V)
    assert seen.gemms == chunks * 4


def test_reuse_inside_a_launch_is_requested_but_no_traffic():
    n, tile = 64, 16
    a, b = torch.randn(2, n, n)
    c = torch.empty(n, n)
    seen = trace(lambda: _matmul_kernel[(n // tile, n // tile)](a, b, c, n, tile))
    torch.testing.assert_close(c, a @ b)
    assert seen.traffic == 3 * 4 * n * n
    assert seen.requested == 4 * (2 * n**3 // tile + n * n)
    assert seen.flops == 2 * n**3


def test_half_precision_moves_half():
    x = torch.zeros(64, dtype=torch.bfloat16)
    assert trace(lambda: _shift_kernel[(4,)](x, torch.empty_like(x), 0, 16)).traffic == 2 * 2 * 64


def test_atomics_read_and_write():
    x, total = torch.ones(64), torch.zeros(1)
    seen = trace(lambda: _sum_kernel[(4,)](x, total, 16))
    assert total.item() == 64
    assert seen.traffic == 4 * (64 + 1 + 1)
    assert seen.requested == 4 * (64 + 4 * 2)


def test_out_of_bounds_is_an_error():
    x = torch.zeros(64)
    with pytest.raises(OutOfBounds, match="first at byte 256 of x_ptr"):
        trace(lambda: _shift_kernel[(4,)](x, torch.zeros(64), 1, 16))


def test_race_is_found():
    x = torch.zeros(65)
    seen = trace(lambda: _shift_kernel[(4,)](x, x, 1, 16), races=True)
    (race,) = seen.races
    assert race.startswith(
        "_shift_kernel: store of x_ptr/o_ptr by program (1, 0, 0) shares 4 bytes"
    )
    assert race.endswith("the first at byte 64")


@pytest.mark.parametrize("step", [0, 1])
def test_disjoint_programs_do_not_race(step):
    x = torch.zeros(65)
    assert not trace(lambda: _shift_kernel[(4,)](x, torch.zeros(65), step, 16), races=True).races
    assert not trace(lambda: _sum_kernel[(4,)](x, torch.zeros(1), 16), races=True).races


def test_programs_that_write_the_same_byte_race():
    seen = trace(lambda: _overlap_kernel[(2,)](torch.zeros(16)), races=True)
    assert [line.split(" by")[0] for line in seen.races] == ["_overlap_kernel: store of o_ptr"]


def test_last_of_many_readers_that_writes_races():
    seen = trace(lambda: _last_writes_kernel[(3,)](torch.zeros(1)), races=True)
    assert [line.split(" shares")[0] for line in seen.races] == [
        "_last_writes_kernel: store of x_ptr by program (2, 0, 0)"
    ]


def test_overlapping_arguments_of_two_widths_are_counted_by_byte():
    raw, o = torch.zeros(68, dtype=torch.uint8), torch.zeros(16)
    # bytes 4 to 67 as float32, 2 to 17 as uint8
    seen = trace(lambda: _add_kernel[(1,)](raw[4:].view(torch.float32), raw[2:18], o, 16))
    (launch,) = seen.steps
    assert (launch.read, launch.written) == ({"y_ptr/x_ptr": 66}, {"o_ptr": 64})


def test_torch_inside_the_interpreter_is_not_counted():
    x = torch.ones(64)
    assert trace(lambda: _erf_kernel[(1,)](x, 64)).launches == 1


PLACES, TWO = torch.tensor([1, 3]), torch.ones(2)
EAGER = {
    "pointwise": (lambda x: (x * 2 + 1).exp(), 3, 6 * 4 * 64),
    "same tensor twice": (lambda x: x * x, 1, 2 * 4 * 64),
    "views are free": (lambda x: x.view(8, 8).T[:4].unbind(1)[0], 0, 0),
    "empty is free": (lambda x: (torch.empty_like(x), x.new_empty(9)), 0, 0),
    "zero fill is a write": (lambda x: torch.zeros(64), 1, 4 * 64),
    "zeros_like reads nothing": (torch.zeros_like, 1, 4 * 64),
    "copy reads only its source": (lambda x: x[:8].copy_(x[8:16]), 1, 2 * 4 * 8),
    "in place reads and writes": (lambda x: x.add_(1), 1, 2 * 4 * 64),
    "broadcast is read once": (lambda x: x[:1].expand(64) + x, 1, 4 * (64 + 64)),
    "overlapping views": (lambda x: x[1:] + x[:-1], 1, 4 * (64 + 63)),
    "windows": (lambda x: x.unfold(0, 8, 1).sum(1), 1, 4 * (64 + 57)),
    "gather": (lambda x: x[PLACES], 1, 4 * 2 + 8 * 2 + 4 * 2),
    "index_put": (lambda x: x.__setitem__(PLACES, TWO), 1, 16 + 2 * 4 * 2),
    "scatter": (lambda x: x.scatter_(0, PLACES, TWO), 1, 16 + 2 * 4 * 2),
    "index_add": (lambda x: x.index_add_(0, PLACES, TWO), 1, 16 + 3 * 4 * 2),
    "contiguous of contiguous": (lambda x: x.contiguous(), 0, 0),
    "transposed copy": (lambda x: x.view(8, 8).T.contiguous(), 1, 2 * 4 * 64),
}


@pytest.mark.parametrize("name", EAGER)
def test_eager_ops_are_counted_by_hand(name):
    call, launches, traffic = EAGER[name]
    x = torch.randn(64)
    seen = trace(lambda: call(x))
    assert (seen.launches, seen.traffic) == (launches, traffic), seen.steps


def test_eager_products_are_counted():
    a, b = torch.randn(3, 8, 4), torch.randn(3, 4, 16)
    seen = trace(lambda: a @ b)
    assert (seen.flops, seen.gemms) == (2 * 3 * 8 * 4 * 16, 3)
    assert trace(lambda: a @ b[0, :, 0]).gemms == 0


def test_inference_mode_changes_nothing():
    a, b = torch.randn(8, 4), torch.randn(4, 16)

    def product():
        with torch.inference_mode():
            return torch.einsum("ij,jk->ik", a, b)

    assert trace(product).flops == 2 * 8 * 4 * 16


def test_attention_is_one_launch():
    q, k, v = torch.randn(3, 1, 2, 32, 16)
    seen = trace(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
    assert seen.flops == 4 * 2 * 32 * 32 * 16
    assert (seen.launches, seen.gemms) == (1, 4)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_is_one_launch():
    from torch.nn.attention.flex_attention import flex_attention

    q, k, v = torch.randn(3, 1, 2, 32, 16)
    launch = trace(lambda: flex_attention(q, k, v)).steps[-1]
    assert launch.name == "flex_attention"
    assert launch.flops == 4 * 2 * 32 * 32 * 16


def test_compiled_function_is_counted_op_by_op():
    x = torch.randn(64)
    compiled = torch.compile(lambda x: (x * 2).exp(), backend="eager", fullgraph=True)
    assert trace(lambda: compiled(x)).launches == 2


def test_backward_is_counted():
    x = torch.randn(64, requires_grad=True)
    seen = trace(lambda: torch.autograd.grad((x * x).sum(), x))
    # sum's gradient is one number expanded; x * x gives two products and their sum
    assert [step.traffic for step in seen.steps if step.name == "aten::mul"] == [512, 516, 516]
    assert [step.traffic for step in seen.steps if step.name == "aten::add"] == [768]


def test_peak_counts_what_is_alive():
    x = torch.randn(1024)

    def chain():
        for _ in range(5):
            y = x * 2
            del y
        return x * 2, x * 3

    assert trace(chain).peak_bytes == 2 * 4 * 1024
    assert trace(lambda: x.view(32, 32)).peak_bytes == 0


def test_peak_counts_uninitialised_outputs():
    q, k, v = _inputs()
    assert trace(lambda: _fused(q, k, v)).peak_bytes == v.nbytes


def test_kernels_and_ops_add_up():
    q, k, v = _inputs()
    seen = trace(lambda: _fused(q, k.mT.contiguous().mT.contiguous(), v) + 1)
    assert [step.name for step in seen.steps] == [
        "aten::clone", "aten::clone", "_linear_attention_kernel", "aten::add"
    ]  # fmt: skip
    assert seen.traffic == sum(step.traffic for step in seen.steps)


def test_importing_the_engine_imports_no_torch():
    code = "import sys, bench.trace.traffic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
