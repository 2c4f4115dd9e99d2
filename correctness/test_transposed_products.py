# pyright: basic, reportArgumentType=false, reportCallIssue=false
"""No kernel multiplies by a transposed product, and the canary says whether this Triton minds.

fla-org/flash-linear-attention #640 and #984, triton-lang/triton #6124: from Triton 3.4 until 3.7.0 such a
product is compiled wrongly for Hopper. The canary is the backward pass in which it was seen, at the block
of 64 steps and 64 channels where it was seen.
"""

from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from correctness.case import Comparison, compare
from correctness.interpreter import interpret
from correctness.transposed_products import ROOT, kernel_files, transposed_products

KERNELS = list(kernel_files())
STEPS, WIDTH = 64, 64
HOPPER = (9, 0)
WRONG_FROM, RIGHT_FROM = (3, 4, 0), (3, 7, 1)
"""Triton's versions: the first that compiles the product wrongly, and the first that does not."""


@triton.jit
def _canary_kernel(
    q_ptr, k_ptr, v_ptr, d_ptr, g_ptr, dq_ptr, dk_ptr,
    BLOCK_T: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Gradients of ``o = (q k^T * decay) v`` with respect to q and k, ``d`` that of o."""
    steps, k = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_K)
    at = steps[:, None] * BLOCK_K + k[None, :]
    queries, keys = tl.load(q_ptr + at), tl.load(k_ptr + at)
    g = tl.load(g_ptr + steps)
    decay = tl.where(steps[:, None] >= steps[None, :], tl.exp(g[:, None] - g[None, :]), 0.0)
    scores = tl.zeros((BLOCK_T, BLOCK_T), tl.float32)
    for part in range(2):
        there = part * BLOCK_T * BLOCK_K + at
        scores += tl.dot(tl.load(d_ptr + there), tl.trans(tl.load(v_ptr + there)))
    scores = (scores * decay).to(queries.dtype)
    tl.store(dq_ptr + at, tl.dot(scores, keys))
    tl.store(dk_ptr + at, tl.dot(tl.trans(scores), queries))


@triton.jit
def _sound_kernel(x_ptr, o_ptr, BLOCK: tl.constexpr):
    """What may look alike: transposes of loads, of sums over a product, and of products to store."""
    steps = tl.arange(0, BLOCK)
    at = steps[:, None] * BLOCK + steps[None, :]
    x = tl.load(x_ptr + at)
    product = tl.dot(x, tl.trans(x))
    total = tl.sum(product, axis=1)
    product += tl.dot(tl.trans(x * total[:, None]), x)
    tl.store(o_ptr + at, tl.trans(product))
    product = tl.load(x_ptr + at)
    tl.store(o_ptr + at, tl.dot(product.T, x))


@triton.jit
def _scores(x, y):
    return tl.dot(x, y), tl.max(x, 1)


@triton.jit
def _through_a_call_kernel(x_ptr, o_ptr, BLOCK: tl.constexpr):
    steps = tl.arange(0, BLOCK)
    at = steps[:, None] * BLOCK + steps[None, :]
    x = tl.load(x_ptr + at)
    scores, largest = _scores(x, x)
    weights = tl.exp(tl.where(at > 0, scores - largest[:, None], 0.0))
    tl.store(o_ptr + at, tl.dot(weights.to(x.dtype).T, x))


@triton.jit
def _round_a_loop_kernel(x_ptr, o_ptr, BLOCK: tl.constexpr, TURNED: tl.constexpr):
    steps = tl.arange(0, BLOCK)
    at = steps[:, None] * BLOCK + steps[None, :]
    x = tl.load(x_ptr + at)
    state = tl.zeros((BLOCK, BLOCK), tl.float32)
    for _ in range(2):
        across = tl.permute(state, (1, 0)) if TURNED else state
        tl.store(o_ptr + at, tl.dot(x, across.to(x.dtype)))
        state += tl.dot(x, x)


def canary(device: str, warps: int = 4) -> list[Comparison]:
    """Both gradients beside their bounds."""
    rng = torch.Generator().manual_seed(0)
    q, k = (torch.randn(STEPS, WIDTH, generator=rng).bfloat16().to(device) for _ in range(2))
    v, d = (torch.randn(2, STEPS, WIDTH, generator=rng).bfloat16().to(device) for _ in range(2))
    g = -torch.rand(STEPS, generator=rng).cumsum(0).to(device)
    dq, dk = (torch.empty(STEPS, WIDTH, device=device) for _ in range(2))
    _canary_kernel[(1,)](q, k, v, d, g, dq, dk, STEPS, WIDTH, num_warps=warps)

    def told(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        scores = torch.einsum("cik,cjk->ij", d.to(dtype), v.to(dtype))
        scores = (scores * (g[:, None] - g[None, :]).to(dtype).exp()).tril()
        return scores @ k.to(dtype), scores.mT @ q.to(dtype)

    both = zip(("dq", "dk"), (dq, dk), told(torch.float64), told(torch.bfloat16), strict=True)
    return [compare(*each, torch.bfloat16) for each in both]


@pytest.mark.parametrize("file", KERNELS, ids=[str(each.relative_to(ROOT)) for each in KERNELS])
def test_no_kernel_multiplies_by_a_transposed_product(file: Path) -> None:
    assert transposed_products(file) == []


def test_every_way_to_such_a_product_is_found_and_nothing_else() -> None:
    found = {line.split(": ")[1] for line in transposed_products(Path(__file__))}
    assert found == {"_canary_kernel", "_through_a_call_kernel", "_round_a_loop_kernel"}


def test_the_canary_is_right_where_it_is_interpreted() -> None:
    with interpret():
        found = canary("cpu")
    assert max(each.excess for each in found) <= 1


def test_the_canary_reads_its_transposed_product_with_the_instructions_of_hopper() -> None:
    names = _canary_kernel.arg_names
    kinds = dict.fromkeys(names[:4], "*bf16") | dict.fromkeys(names[4:7], "*fp32")
    source = ASTSource(
        _canary_kernel,
        signature=kinds | dict.fromkeys(names[7:], "constexpr"),
        constexprs={(7,): STEPS, (8,): WIDTH},
    )
    options = {"num_warps": 4, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    lines = compiled.asm["ttgir"].splitlines()
    assert sum("ttng.warp_group_dot " in line for line in lines) == 3
    assert any("trans" in line for line in lines)


@pytest.mark.parametrize("warps", [4, 8])
def test_this_triton_compiles_the_canary_rightly(warps: int) -> None:
    if not torch.cuda.is_available():
        pytest.skip("not run: needs a CUDA GPU; interpreted, the canary is right on every version")
    version = tuple(int(each) for each in triton.__version__.split("+")[0].split(".")[:3])
    known = torch.cuda.get_device_capability() == HOPPER and WRONG_FROM <= version < RIGHT_FROM
    found = canary("cuda", warps)
    wrong = [
        f"{each.what} errs {each.excess:.3g} times its bound" for each in found if each.excess > 1
    ]
    if wrong and known:
        pytest.xfail(f"Triton {triton.__version__} is on the wrong side: {', '.join(wrong)}")
    assert not wrong, f"Triton {triton.__version__}, beyond the versions known to be wrong"
