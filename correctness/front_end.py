# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false
"""Front end: Triton's types, remembered, for a block's type costs more than its arithmetic.

The compiler builds every type once, an interpreter at every operation. ``PATCHES`` replace, inside
``interpret()`` only, the constructors by ones that copy what they computed before for an equal
type, and ``Semantic`` skips the promotion and broadcasting of operands that agree already.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
import triton.runtime.interpreter as stock
from triton.language.semantic import TritonSemantic

_make_block_type = tl.core.block_type.__init__
_make_tensor = tl.core.tensor.__init__
_np_dtype = stock._get_np_dtype
_dtype_equals = tl.core.dtype.__eq__

_block_types: dict[tuple, dict[str, Any]] = {}
_tensor_facts: dict[str, dict[str, Any]] = {}
_np_dtypes: dict[str, np.dtype] = {}
_computation_types: dict[tuple, tl.dtype] = {}
_operand_types: dict[tuple, tuple[tl.dtype, tl.dtype]] = {}
_shapes: dict[tuple, tuple[int, ...]] = {}
_unwrap = tl.core._unwrap_if_constexpr


def _init_block_type(self: Any, element_ty: tl.dtype, shape: Any) -> None:
    sizes = tuple([size.value if type(size) is tl.constexpr else size for size in shape])
    known = _block_types.get((element_ty.name, sizes))
    if known is None:
        _make_block_type(self, element_ty, shape)
        known = _block_types[element_ty.name, sizes] = dict(vars(self))
    vars(self).update(known)


def _init_tensor(self: Any, handle: Any, type: Any) -> None:
    known = _tensor_facts.get(type.name)
    if known is None:
        _make_tensor(self, handle, type)
        known = {
            name: value for name, value in vars(self).items() if name not in ("handle", "type")
        }
        _tensor_facts[type.name] = known
    vars(self).update(known, handle=handle, type=type)


def _remembered_np_dtype(type: Any) -> np.dtype:
    known = _np_dtypes.get(type.name)
    if known is None:
        known = _np_dtypes[type.name] = _np_dtype(type)
    return known


def _equal_dtypes(self: tl.dtype, other: Any) -> bool:
    return self is other or _dtype_equals(self, other)


def _unwrapped(given: Any) -> Any:
    # most of what is asked is a tensor, for which the stock function has to try every other type
    return given if type(given) is tl.tensor else _unwrap(given)


class Semantic(TritonSemantic):
    """Triton's semantics, with short ways for operands that agree and for broadcasting."""

    def binary_op_type_checking_impl(self, lhs: Any, rhs: Any, *rules: Any, **named: Any) -> Any:
        agree = type(lhs) is type(rhs) is tl.tensor and lhs.type.name == rhs.type.name
        # division promotes the half types, and pointers and int1 have rules of their own
        if agree and lhs.dtype.name in ("fp32", "fp64", "int32", "int64"):
            return lhs, rhs
        if not type(lhs) is type(rhs) is tl.tensor:
            return super().binary_op_type_checking_impl(lhs, rhs, *rules, **named)
        # what two tensors are cast to, or why they are refused, depends on their types alone
        key = (lhs.dtype.name, rhs.dtype.name, rules, *named.items())
        known = _operand_types.get(key)
        if known is None:
            left, right = super().binary_op_type_checking_impl(lhs, rhs, *rules, **named)
            _operand_types[key] = left.dtype, right.dtype
            return left, right
        pairs = ((lhs, known[0]), (rhs, known[1]))
        return self.broadcast_impl_value(
            *[x if x.dtype.name == want.name else self.cast(x, want) for x, want in pairs]
        )

    def computation_type_impl(self, *operands: Any) -> Any:
        key = tuple([getattr(operand, "name", operand) for operand in operands])
        known = _computation_types.get(key)
        if known is None:
            known = _computation_types[key] = super().computation_type_impl(*operands)
        return known

    def broadcast_impl_value(self, lhs: Any, rhs: Any) -> Any:
        left, right = _shape(lhs), _shape(rhs)
        if left == right:
            return lhs, rhs
        # Triton's rule is numpy's: missing axes come first, sizes 1 stretch
        shape = _shapes.get((left, right))
        if shape is None:
            shape = _shapes[left, right] = np.broadcast_shapes(left, right)
        return _stretched(lhs, left, shape), _stretched(rhs, right, shape)


def _stretched(value: Any, have: tuple[int, ...], want: tuple[int, ...]) -> Any:
    if have == want:
        return value
    handle = value.handle
    data = np.broadcast_to(handle.data, want) if have else np.full(want, handle.data)
    return tl.tensor(stock.TensorHandle(data, handle.dtype), tl.block_type(value.dtype, list(want)))


def _shape(value: Any) -> tuple[int, ...]:
    return value.handle.data.shape if value.type.is_block() else ()


def bind(builtin: Callable, semantic: Semantic) -> Callable:
    """A builtin of triton.language that any Python code can call."""
    # past the check that a kernel is being compiled
    plain = getattr(builtin, "__wrapped__", builtin)

    def bound(*args: Any, _semantic: Any = None, **kwargs: Any) -> Any:
        return plain(*args, **kwargs, _semantic=semantic)

    return bound


PATCHES: list[tuple[Any, str, Any]] = [
    (tl.core.block_type, "__init__", _init_block_type),
    (tl.core.tensor, "__init__", _init_tensor),
    (tl.core.dtype, "__eq__", _equal_dtypes),
    (tl.core, "_unwrap_if_constexpr", _unwrapped),
    (stock, "_get_np_dtype", _remembered_np_dtype),
]
