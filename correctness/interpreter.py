# pyright: basic, reportArgumentType=false, reportAttributeAccessIssue=false
"""Interpreter: runs Triton kernels on CPU tensors, in numpy, with a GPU's rounding.

    with interpret():
        o = plugin(q, k, v)

Every ``kernel[grid](...)`` inside is interpreted, one program after another, x fastest; outside,
compilation is untouched and no environment variable is needed. An address outside every tensor
argument raises ``OutOfBounds``. An ``Observer`` sees launches, loads, stores, atomics and dots.
A program that waits for a later one waits for ever: programs do not overlap.
"""

import ast
import contextlib
import functools
import inspect
import textwrap
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import triton.compiler.code_generator  # noqa: F401 - copies tl.min, tl.max: import before patching
import triton.language as tl
import triton.language.extra.libdevice as libdevice
import triton.runtime.interpreter as stock
from triton import knobs
from triton.backends.nvidia.compiler import CUDAOptions
from triton.language.extra.cuda import libdevice as cuda_libdevice
from triton.runtime.autotuner import Autotuner
from triton.runtime.interpreter import TensorHandle
from triton.runtime.jit import JITFunction
from triton.tools.tensor_descriptor import TensorDescriptor

from correctness import front_end
from correctness.block_arithmetic import BlockArithmetic
from correctness.launch_extents import Extents, OutOfBounds

__all__ = ["Observer", "OutOfBounds", "interpret"]


class Observer:
    """Sees what the interpreter does; every method may be left out. Sizes are in bytes."""

    def launch(self, kernel: str, grid: tuple[int, int, int], extents: Extents) -> None:
        """A launch begins; ``extents`` are the addresses of its tensors."""

    def access(self, kind: str, addresses: np.ndarray, itemsize: int, program: tuple) -> None:
        """``load``, ``store`` or ``atomic`` of one item at each address, masked lanes left out."""

    def dot(self, batch: int, rows: int, inner: int, columns: int) -> None:
        """``tl.dot`` of ``batch`` pairs of matrices, [rows, inner] by [inner, columns]."""

    def finish(self) -> None:
        """The launch ended, by an exception too."""


_BUILDER = BlockArithmetic()
_SEMANTIC = front_end.Semantic(_BUILDER)
_LAUNCH_OPTIONS = frozenset(CUDAOptions.__dataclass_fields__) | {"debug", "instrumentation_mode"}


@contextlib.contextmanager
def interpret(*observers: Observer) -> Iterator[None]:
    """Kernels launched in this context run on CPU tensors in numpy.

    The autotuner takes the first configuration that survives its own pruning. Nests: an inner
    context adds its observers. Raises RuntimeError under TRITON_INTERPRET, whose kernels were
    never made to compile.
    """
    if knobs.runtime.interpret:
        raise RuntimeError("TRITON_INTERPRET is set, want it unset: its bfloat16 is wrong")
    outermost = JITFunction.run is not _run
    scope = stock._LangPatchScope()
    _BUILDER.observers.extend(observers)
    try:
        if outermost:
            for owner, name, value in _patches():
                scope.set_attr(owner, name, value)
        yield
    finally:
        scope.restore()
        del _BUILDER.observers[len(_BUILDER.observers) - len(observers) :]


@functools.cache
def _patches() -> list[tuple[Any, str, Any]]:
    """What the context sets: owner, attribute, value."""
    own = [
        (stock, "interpreter_builder", _BUILDER),
        (stock, "interpreter_semantic", _SEMANTIC),
        (stock.ScanOps, "generic_scan", _scan),
        (stock.ReduceOps, "generic_reduce", _reduce),
        (JITFunction, "run", _run),
        (JITFunction, "__call__", _call),
        (Autotuner, "run", _run_first_config),
    ]
    language = [(tl.tensor, "__index__", lambda scalar: int(scalar.handle.data.item()))]
    language += [
        (module, name, value)
        for module in (tl, tl.core)
        for name, value in (("range", _loop), ("load", _load))
    ]
    for name, member in vars(cuda_libdevice).items():
        if tl.core.is_builtin(member):
            bound = _bind(member)
            own += [(cuda_libdevice, name, bound), (libdevice, name, bound)]
    return own + _language_patches() + language + front_end.PATCHES


def _language_patches() -> list[tuple[Any, str, Any]]:
    """Those by which Triton's interpreter makes ``triton.language`` callable, on our builder."""
    saved = stock.interpreter_builder
    stock.interpreter_builder = _BUILDER
    kernel = types.SimpleNamespace(__globals__={"tl": tl, "core": tl.core})
    scope = stock._patch_lang(kernel)
    changes = [
        (owner, name, _bind(old) if tl.core.is_builtin(old) else getattr(owner, name))
        for owner, name, old in scope._changes
    ]
    scope.restore()
    stock.interpreter_builder = saved
    return changes


def _loop(start: Any, stop: Any = None, step: Any = 1, **hints: Any) -> Iterator[Any]:
    """``range`` in a kernel: its indices are int32 scalars, not Python integers."""
    first, last = (0, start) if stop is None else (start, stop)
    for index in range(first, last, 1 if step is None else step):
        yield _SEMANTIC.to_tensor(index)


_LOAD = tl.core.load


def _load(pointer: Any, mask: Any = None, other: Any = None, *rest: Any, **named: Any) -> Any:
    """``tl.load``; masked-off lanes without ``other`` are undefined: NaN, or the largest int."""
    if mask is not None and other is None:
        kind = pointer.type.scalar.element_ty
        largest = (1 << (kind.primitive_bitwidth - kind.is_int_signed())) - 1
        other = float("nan") if kind.is_floating() else largest
    named["_semantic"] = _SEMANTIC
    return _LOAD(pointer, mask, other, *rest, **named)


def _condition(value: Any) -> Any:
    """What an ``if``, ``while``, ``and``, ``or`` or ``not`` asks of a kernel's value."""
    if isinstance(value, tl.tensor) and value.handle.data.size != 1:
        raise ValueError(f"a block of shape {value.handle.data.shape} as a condition, want & | ~")
    return value


def _bind(builtin: Callable) -> Callable:
    return front_end.bind(builtin, _SEMANTIC)


def _call(self: JITFunction, *args: Any, **kwargs: Any) -> Any:
    """A kernel calls another @triton.jit function."""
    kwargs.pop("_semantic", None)
    kwargs.pop("_generator", None)
    return _interpreted(self.fn)(*args, **kwargs)


def _run_first_config(self: Autotuner, *args: Any, **kwargs: Any) -> Any:
    self.nargs = dict(zip(self.arg_names, args, strict=False))
    config = self.best_config = self.prune_configs(kwargs)[0]
    options = {**kwargs, **config.all_kwargs()}
    if config.pre_hook is not None:
        config.pre_hook({**self.nargs, **options})
    return self.fn.run(*args, **options)


def _run(self: JITFunction, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> None:
    """Interprets one launch; every exception carries the kernel's name and the program."""
    if warmup:
        return
    for hook in self.pre_run_hooks:
        hook(*args, **kwargs)
    arguments = _bound_arguments(self, args, kwargs)
    tensors = [pair for name, value in arguments.items() for pair in _tensors(name, value)]
    size = tuple(grid(arguments) if callable(grid) else grid)
    size += (1,) * (3 - len(size))
    constant = {param.name for param in self.params if param.is_constexpr}
    values = {
        name: value if name in constant else _as_argument(value)
        for name, value in arguments.items()
    }
    _BUILDER.set_grid_dim(*size)
    _BUILDER.extents = Extents(tensors)
    for observer in _BUILDER.observers:
        observer.launch(self.fn.__name__, size, _BUILDER.extents)
    try:
        # masked lanes overflow and divide by zero as they please
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            _run_programs(_interpreted(self.fn), size, values)
    except Exception as error:
        error.add_note(f"in {self.fn.__name__}, program {_BUILDER.grid_idx} of {size}")
        raise
    finally:
        for observer in _BUILDER.observers:
            observer.finish()


def _run_programs(program: Callable, size: tuple, values: dict[str, Any]) -> None:
    for z in range(size[2]):
        for y in range(size[1]):
            for x in range(size[0]):
                _BUILDER.set_grid_idx(x, y, z)
                program(**values)


def _bound_arguments(kernel: JITFunction, args: tuple, kwargs: dict) -> dict[str, Any]:
    options = {name for name in kwargs if name not in kernel.arg_names}
    if unknown := options - _LAUNCH_OPTIONS:
        raise TypeError(f"{kernel.fn.__name__} has no argument {', '.join(sorted(unknown))}")
    named = {name: value for name, value in kwargs.items() if name not in options}
    bound = inspect.signature(kernel.fn).bind(*args, **named)
    bound.apply_defaults()
    return dict(bound.arguments)


def _tensors(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, TensorDescriptor):
        value = value.base
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _tensors(f"{name}[{index}]", item)
    elif isinstance(value, torch.Tensor):
        if value.device.type != "cpu":
            raise ValueError(f"{name} is a {value.device} tensor, want a cpu tensor")
        yield name, value


def _as_argument(value: Any) -> Any:
    """A host value as the kernel sees it; a float is a float32 scalar, as in a compiled launch."""
    if isinstance(value, float):
        return tl.tensor(TensorHandle(np.array([value], np.float32), tl.float32), tl.float32)
    if isinstance(value, tuple):
        return stock._tuple_create(value, map(_as_argument, value))
    return stock._implicit_cvt(value)


class _Rewriter(stock.ASTTransformer):
    """Triton's rewriting (assignments make tensors), and conditions that refuse blocks."""

    def _ask(self, node: ast.expr) -> ast.Call:
        name = ast.Name("_condition", ast.Load())
        return ast.copy_location(ast.Call(name, [self.visit(node)], []), node)

    def _visit_test(self, node: Any) -> ast.AST:
        node.test = self._ask(node.test)
        return self.generic_visit(node)

    visit_If = visit_While = visit_IfExp = _visit_test  # noqa: N815 - ast.NodeVisitor's names

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:  # noqa: N802
        node.values = [self._ask(value) for value in node.values]
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:  # noqa: N802
        if isinstance(node.op, ast.Not):
            node.operand = self._ask(node.operand)
            return node
        return self.generic_visit(node)


@functools.cache
def _interpreted(function: Callable) -> Callable:
    """The Python function behind @triton.jit, rewritten to run on numpy blocks.

    It is built inside a factory whose parameters carry what the stock interpreter would write
    into the kernel's module.
    """
    lines, first = inspect.getsourcelines(function)
    definition = _Rewriter().visit(ast.parse(textwrap.dedent("".join(lines)))).body[0]
    definition.decorator_list = []
    captured = _captured(function)
    names = ", ".join(captured)
    factory = ast.parse(f"def factory({names}):\n    pass\n    return {function.__name__}")
    factory.body[0].body[0] = definition
    ast.fix_missing_locations(ast.increment_lineno(factory, first - 1))
    namespace: dict[str, Any] = {}
    file = inspect.getsourcefile(function) or "<kernel>"
    exec(compile(factory, file, "exec"), function.__globals__, namespace)
    return namespace["factory"](**captured)


def _captured(function: Callable) -> dict[str, Any]:
    """Names the rewritten function sees before its module's own."""
    captured: dict[str, Any] = {
        "interpreter_semantic": _SEMANTIC,
        "range": _loop,
        "_condition": _condition,
    }
    if hasattr(stock, "_InterpreterComparison"):
        captured["_InterpreterComparison"] = stock._InterpreterComparison
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if getattr(value, "__module__", None) == libdevice.__name__:
            value = vars(cuda_libdevice)[name]
        if tl.core.is_builtin(value):
            captured[name] = _bind(value)
    captured.update(inspect.getclosurevars(function).nonlocals)
    return captured


def _combined(self: Any, left: list[tl.tensor], right: list[tl.tensor]) -> list[tl.tensor]:
    result = _interpreted(self.combine_fn.fn)(*left, *right)
    result = result if isinstance(result, (tuple, tl.tuple)) else (result,)
    return [_like(new, old) for new, old in zip(result, right, strict=True)]


def _like(value: Any, model: tl.tensor) -> tl.tensor:
    value = _SEMANTIC.cast(_SEMANTIC.to_tensor(value), model.dtype)
    return _SEMANTIC.broadcast_impl_shape(value, model.shape) if model.type.is_block() else value


def _blocks(self: Any, data: list[np.ndarray], like: list[tl.tensor]) -> list[tl.tensor]:
    return [self.to_tensor(x, item.dtype) for x, item in zip(data, like, strict=True)]


def _scan(self: Any, inputs: list[tl.tensor]) -> list[tl.tensor]:
    """``tl.associative_scan`` in log2(n) combinations of whole blocks, where n is its length."""
    data = [item.handle.data for item in inputs]
    lane = np.indices(data[0].shape)[self.axis]
    step = 1
    while step < data[0].shape[self.axis]:
        # the lanes that wrap round are thrown away by the where
        left = _blocks(self, [np.roll(x, step, self.axis) for x in data], inputs)
        combined = _combined(self, left, _blocks(self, data, inputs))
        data = [
            np.where(lane >= step, new.handle.data, old)
            for new, old in zip(combined, data, strict=True)
        ]
        step *= 2
    return _blocks(self, data, inputs)


def _reduce(self: Any, inputs: list[tl.tensor]) -> list[tl.tensor]:
    """``tl.reduce`` by a tree of neighbours: log2(n) combinations of whole blocks."""
    data = [item.handle.data for item in inputs]
    kept = np.array(data[0].shape)
    kept[slice(None) if self.axis is None else self.axis] = 1
    data = [x.reshape(-1) if self.axis is None else np.moveaxis(x, self.axis, 0) for x in data]
    while len(data[0]) > 1:
        left = _blocks(self, [x[0::2] for x in data], inputs)
        right = _blocks(self, [x[1::2] for x in data], inputs)
        data = [item.handle.data for item in _combined(self, left, right)]
    data = [x.reshape(kept) if self.keep_dims else x[0] for x in data]
    return _blocks(self, data, inputs)
