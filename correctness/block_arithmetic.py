# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false
"""Block arithmetic: what Triton's block operations compute on a GPU, in numpy.

Triton's own interpreter adds bfloat16 numbers by adding their bits, truncates float32 to bfloat16,
ignores ``input_precision`` and knows no libdevice. ``BlockArithmetic`` answers the same calls with
the device's rounding, checks every address against the launch's tensors, and tells observers.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import triton.language as tl
import triton.runtime.interpreter as stock
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from correctness.launch_extents import Extents

BFLOAT16 = tl.bfloat16
FLOAT8 = {tl.float8e4nv: torch.float8_e4m3fn, tl.float8e5: torch.float8_e5m2}

_TF32, _TF32X3 = stock._ir.INPUT_PRECISION.TF32, stock._ir.INPUT_PRECISION.TF32x3
_BF16X3, _BF16X6 = stock._ir.INPUT_PRECISION.BF16x3, stock._ir.INPUT_PRECISION.BF16x6


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers that uint16 bfloat16 bits stand for; exact."""
    return (np.ascontiguousarray(bits).astype(np.uint32) << 16).view(np.float32)


def round_to_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """uint16 bits of float32 numbers rounded to nearest even; every NaN becomes 0x7FC0."""
    bits = np.ascontiguousarray(numbers, dtype=np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(numbers), np.uint16(0x7FC0), rounded).reshape(np.shape(numbers))


def truncate_to_tf32(numbers: np.ndarray) -> np.ndarray:
    """What a tensor core reads of a float32 register: the top 19 bits."""
    bits = np.ascontiguousarray(numbers).view(np.uint32)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)


def _nearest_bfloat16(numbers: np.ndarray) -> np.ndarray:
    return widen_bfloat16(round_to_bfloat16(numbers))


def _is_bfloat16(handle: Any) -> bool:
    return isinstance(handle, TensorHandle) and bool(handle.dtype.scalar.name == BFLOAT16.name)


def _wide(handle: Any) -> Any:
    if _is_bfloat16(handle):
        return TensorHandle(widen_bfloat16(handle.data), tl.float32)
    return handle


def _narrow(handle: TensorHandle) -> TensorHandle:
    """Rounds a float32 result back to bfloat16; a comparison's booleans become int1."""
    if handle.data.dtype == np.bool_:
        return TensorHandle(handle.data, tl.int1)
    return TensorHandle(round_to_bfloat16(handle.data), BFLOAT16)


def _through_float32(name: str) -> Callable[..., TensorHandle]:
    """The stock operation, done in float32 and rounded once when an operand is bfloat16."""
    operation = getattr(InterpreterBuilder, name)

    def rounded(self: Any, *operands: Any) -> TensorHandle:
        if not any(map(_is_bfloat16, operands)):
            return operation(self, *operands)
        return _narrow(operation(self, *map(_wide, operands)))

    return rounded


def _product(a: np.ndarray, b: np.ndarray, precision: Any) -> np.ndarray:
    """The product of float32 operands as a tensor core forms it under ``input_precision``."""
    if precision == _TF32:
        return truncate_to_tf32(a) @ truncate_to_tf32(b)
    if precision == _TF32X3:
        return _split_product(a, b, truncate_to_tf32, parts=2)
    if precision == _BF16X3:
        return _split_product(a, b, _nearest_bfloat16, parts=2)
    if precision == _BF16X6:
        return _split_product(a, b, _nearest_bfloat16, parts=3)
    return a @ b


def _split_product(a: np.ndarray, b: np.ndarray, coarse: Callable, parts: int) -> np.ndarray:
    """Sum over i + j < parts of a_i @ b_j, where a = a_0 + a_1 + ... in coarse numbers."""
    left, right = _pieces(a, coarse, parts), _pieces(b, coarse, parts)
    pairs = [(i, j) for i in range(parts) for j in range(parts - i)]
    # small terms first
    return functools.reduce(np.add, (left[i] @ right[j] for i, j in reversed(pairs)))


def _pieces(rest: np.ndarray, coarse: Callable, parts: int) -> list[np.ndarray]:
    pieces = []
    for _ in range(parts):
        pieces.append(coarse(rest))
        rest = rest - pieces[-1]
    return pieces


def _to_float8(numbers: np.ndarray, dtype: tl.dtype) -> np.ndarray:
    """Bits of numbers rounded to nearest even; beyond the largest finite number saturates."""
    kind = FLOAT8[dtype]
    largest = torch.finfo(kind).max
    source = torch.from_numpy(np.ascontiguousarray(numbers, dtype=np.float32))
    return source.clamp(-largest, largest).to(kind).view(torch.uint8).numpy()


def _from_float8(bits: np.ndarray, dtype: tl.dtype) -> np.ndarray:
    return torch.from_numpy(np.ascontiguousarray(bits)).view(FLOAT8[dtype]).float().numpy()


_SAME_NAME = (
    "acos acosh asin asinh atan atan2 atanh ceil copysign cos cosh erf erfc erfinv exp exp2 expm1"
    " floor fmax fmin fmod hypot isinf isnan lgamma log log10 log1p log2 pow rsqrt sin sinh sqrt"
    " tan tanh trunc"
)
LIBDEVICE: dict[str, Callable[..., Any]] = {
    **{name: getattr(torch, name) for name in _SAME_NAME.split(" ")},
    "fabs": torch.abs,
    "abs": torch.abs,
    "rint": torch.round,
    "nearbyint": torch.round,
    "div_rn": torch.div,
    "fma": lambda a, b, c: (a.double() * b.double() + c.double()).to(a.dtype),
    "normcdf": torch.special.ndtr,
    "fast_exp": torch.exp,
    "fast_exp10": lambda x: torch.pow(10.0, x),
    "fast_log": torch.log,
    "fast_log2": torch.log2,
    "fast_log10": torch.log10,
    "fast_tanh": torch.tanh,
    "fast_sin": torch.sin,
    "fast_cos": torch.cos,
    "fast_pow": torch.pow,
    "fast_fdivide": torch.div,
}
"""libdevice function, without ``__nv_`` and the float ``f``, to its meaning. The ``fast_`` ones
are a few ulp better here than on a GPU."""


class BlockArithmetic(InterpreterBuilder):
    """Stands in for Triton's interpreter builder; one program of one launch at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.observers: list[Any] = []
        self.extents = Extents([])
        self.options = dataclasses.replace(
            self.options,
            # the stock check doubles every integer operation, and its assertion is switched off
            sanitize_overflow=False,
            allowed_dot_input_precisions=("tf32", "tf32x3", "ieee", "bf16x3", "bf16x6"),
        )
        self.codegen_fns["min_dot_size"] = _smallest_dot

    binary_op = _through_float32("binary_op")
    unary_op = _through_float32("unary_op")
    ternary_op = _through_float32("ternary_op")
    create_fma = _through_float32("create_fma")

    def create_select(self, condition: Any, yes: Any, no: Any) -> TensorHandle:
        return TensorHandle(np.where(condition.data, yes.data, no.data), yes.dtype.scalar)

    def create_minnumf(self, lhs: Any, rhs: Any) -> TensorHandle:
        return self.binary_op(lhs, rhs, np.fmin)

    def create_maxnumf(self, lhs: Any, rhs: Any) -> TensorHandle:
        return self.binary_op(lhs, rhs, np.fmax)

    def create_erf(self, number: TensorHandle) -> TensorHandle:
        data = torch.erf(torch.from_numpy(np.ascontiguousarray(number.data))).numpy()
        return TensorHandle(data, number.dtype.scalar)

    def get_bf16(self, value: float) -> TensorHandle:
        return TensorHandle(round_to_bfloat16(np.array([value], np.float32)), BFLOAT16)

    def cast_impl(self, source: TensorHandle, target: tl.dtype) -> TensorHandle:
        have, want = source.dtype.scalar, target.scalar
        if have == want:
            return TensorHandle(source.data, want)
        if have.is_fp8() or want.is_fp8():
            raise NotImplementedError(f"cast from {have} to {want}: only e4m3 and e5m2 are known")
        if want == BFLOAT16:
            return TensorHandle(round_to_bfloat16(source.data.astype(np.float32)), BFLOAT16)
        return super().cast_impl(_wide(source), target)

    def create_fp_to_fp(self, source: TensorHandle, target: tl.dtype, mode: Any) -> TensorHandle:
        have, want = source.dtype.scalar, target.scalar
        if have in FLOAT8:
            wide = TensorHandle(_from_float8(source.data, have), tl.float32)
            return self.create_fp_to_fp(wide, target, mode) if want != tl.float32 else wide
        if mode == stock._ir.ROUNDING_MODE.RTZ:
            return super().create_fp_to_fp(source, target, mode)
        if want in FLOAT8:
            return TensorHandle(_to_float8(_wide(source).data, want), want)
        return self.cast_impl(source, target)

    def create_dot(self, a: Any, b: Any, d: Any, precision: Any, *rest: Any) -> TensorHandle:
        *batch, rows, inner = a.data.shape
        for observer in self.observers:
            observer.dot(math.prod(batch), rows, inner, b.data.shape[-1])
        left, right, acc = self._dot_operand(a), self._dot_operand(b), _wide(d)
        if a.dtype.scalar == tl.float32:
            product = _product(left, right, precision)
        else:
            product = np.matmul(left, right, dtype=np.result_type(left, acc.data))
        total = TensorHandle((product + acc.data).astype(acc.data.dtype), acc.dtype.scalar)
        return _narrow(total) if d.dtype.scalar == BFLOAT16 else total

    def create_dot_scaled(self, *operands: Any) -> TensorHandle:
        if self.observers:
            raise NotImplementedError("tl.dot_scaled is interpreted, but its flops are not counted")
        return super().create_dot_scaled(*operands)

    def _dot_operand(self, operand: TensorHandle) -> np.ndarray:
        kind = operand.dtype.scalar
        if kind in FLOAT8:
            return _from_float8(operand.data, kind)
        data = _wide(operand).data
        # numpy multiplies float16 matrices outside BLAS, a hundred times slower
        return data.astype(np.float32) if data.dtype == np.float16 else data

    def create_extern_elementwise(
        self, library: str, path: str, symbol: str, operands: list, result: tl.dtype, *pure: Any
    ) -> TensorHandle:
        name = symbol.removeprefix("__nv_")
        meaning = LIBDEVICE.get(name) or LIBDEVICE.get(name.removesuffix("f"))
        if meaning is None:
            raise NotImplementedError(f"libdevice {symbol} has no entry in LIBDEVICE")
        shape = np.broadcast_shapes(*(operand.data.shape for operand in operands))
        tensors = [torch.tensor(np.broadcast_to(operand.data, shape)) for operand in operands]
        data = meaning(*tensors).numpy().astype(stock._get_np_dtype(result.scalar))
        return TensorHandle(data, result.scalar)

    def create_masked_load(
        self, pointers: Any, mask: Any, other: Any, *policy: Any, **named: Any
    ) -> TensorHandle:
        dtype = pointers.get_element_ty()
        self._touch("load", pointers, mask)
        kind = stock._get_np_dtype(dtype)
        others = np.zeros(pointers.data.shape, kind) if other is None else other.data
        data = stock._interpreter.load(pointers.data, mask.data, others, kind)
        return TensorHandle(data, dtype)

    def create_masked_store(
        self, pointers: Any, value: Any, mask: Any, *policy: Any, **named: Any
    ) -> None:
        self._touch("store", pointers, mask)
        stock._interpreter.store(pointers.data, value.data, mask.data)

    def create_atomic_rmw(
        self, operation: Any, pointers: Any, value: Any, mask: Any, *order: Any
    ) -> TensorHandle:
        self._touch("atomic", pointers, mask)
        if value.dtype.scalar != BFLOAT16 or operation == stock._ir.ATOMIC_OP.XCHG:
            return super().create_atomic_rmw(operation, pointers, value, mask, *order)
        if operation != stock._ir.ATOMIC_OP.FADD:
            raise NotImplementedError(f"bfloat16 atomic {operation}: no GPU has it")
        return self._add_bfloat16(pointers, value, mask)

    def _add_bfloat16(self, pointers: Any, value: Any, mask: Any) -> TensorHandle:
        """One addition, rounded, for each lane; lanes that share an address take turns."""
        old = np.zeros(pointers.data.shape, np.uint16)
        waiting = np.array(np.broadcast_to(mask.data, old.shape))
        while waiting.any():
            lanes = np.flatnonzero(waiting)
            turn = np.zeros(waiting.size, bool)
            turn[lanes[np.unique(pointers.data.ravel()[lanes], return_index=True)[1]]] = True
            turn = turn.reshape(old.shape)
            old = stock._interpreter.load(pointers.data, turn, old, np.dtype(np.uint16))
            total = round_to_bfloat16(widen_bfloat16(old) + widen_bfloat16(value.data))
            stock._interpreter.store(pointers.data, total, turn)
            waiting &= ~turn
        return TensorHandle(old, BFLOAT16)

    def create_atomic_cas(self, pointers: Any, *operands: Any) -> TensorHandle:
        self._touch("atomic", pointers, TensorHandle(np.ones(1, bool), tl.int1))
        return super().create_atomic_cas(pointers, *operands)

    def _touch(self, kind: str, pointers: Any, mask: Any) -> None:
        addresses, lanes = pointers.data, np.asarray(mask.data)
        if not lanes.all():
            addresses = addresses[np.broadcast_to(lanes, addresses.shape)]
        if not addresses.size:
            return
        itemsize = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        self.extents.check(kind, addresses, itemsize)
        for observer in self.observers:
            observer.access(kind, addresses.ravel(), itemsize, self.grid_idx)


def _smallest_dot(left: tl.dtype, right: tl.dtype) -> tuple[int, int, int]:
    """Least M, N, K of a dot on an NVIDIA GPU: the tensor core's K for this width in bits."""
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.compiler import min_dot_size

    return min_dot_size(GPUTarget("cuda", 90, 32))(left, right)
