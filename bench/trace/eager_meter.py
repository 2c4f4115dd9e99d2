"""Eager meter: counts the bytes eager torch ops touch, op by op, and what is alive at once.

Every op that reaches the dispatcher below autograd is one launch; it reads the distinct bytes of
its inputs and writes those of its outputs. Views and uninitialised allocations are free, filling
with zeros is a write, a gather reads what it picks. A compiled function is counted op by op, as if
it were not compiled; flex_attention is one op.
"""

import contextlib
import math
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .launch import Launch, gemm_count

if TYPE_CHECKING:
    import torch

FREE = {
    "_unsafe_view",
    "_reshape_alias",
    "lift_fresh",
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
}
"""Ops that move nothing though their schema does not say view."""

OVERWRITES = {"zero_", "fill_", "copy_", "uniform_", "normal_", "bernoulli_", "exponential_"}
"""In-place ops that do not read what they replace."""

PICKS = {"index", "index_select", "gather", "embedding"}
"""Ops that read of their first tensor as many elements as they return."""

PLACES = {"index_put_", "index_copy_", "scatter_"}
"""Ops that write into their first tensor as many elements as they are given."""

ADDS = {"index_add_", "scatter_add_", "scatter_reduce_"}
"""Those that read what they write into as well."""


class EagerMeter:
    """Hands each op's ``Launch`` to ``record`` while ``paused()`` is false."""

    def __init__(self, record: Callable[[Launch], None], paused: Callable[[], bool]) -> None:
        self.record, self.paused = record, paused
        self.live = 0
        """Bytes of the storages allocated since the meter started and not yet freed."""
        self.peak = 0
        """Most ``live`` has been."""
        self._storages: dict[int, Any] = {}

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Every torch op inside is counted; nests in autograd and with other modes."""
        from torch.utils._python_dispatch import TorchDispatchMode

        class Mode(TorchDispatchMode):
            # flex_attention and associative_scan come as such
            supports_higher_order_operators = True

        def dispatch(mode, func, types, args=(), kwargs=None):
            return self._dispatch(mode, func, args, kwargs or {})

        # written into the class body it would be wrapped to import torch._dynamo: seconds
        Mode.__torch_dispatch__ = dispatch  # pyright: ignore[reportAttributeAccessIssue]
        with Mode(), _uncompiled():
            yield

    def _dispatch(self, mode: Any, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        if self.paused():
            return func(*args, **kwargs)
        if hasattr(func, "decompose"):
            with mode:
                # matmul, einsum and their like reach us whole in inference mode
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        before = _tensors((args, kwargs))
        for tensor in before:
            self._storages.setdefault(_storage(tensor), tensor)
        out = func(*args, **kwargs)
        for tensor in _tensors(out):
            self._track(tensor)
        if not _is_free(func):
            self.record(_launch(func, args, kwargs, out))
        return out

    def _track(self, tensor: "torch.Tensor") -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._storages:
            return
        size = storage.nbytes()
        self._storages[key] = None
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, key, size).atexit = False

    def _freed(self, key: int, size: int) -> None:
        del self._storages[key]
        self.live -= size


def _uncompiled() -> contextlib.AbstractContextManager[Any]:
    """torch.compile, which flex_attention calls too, stands aside: it refuses to work in a mode."""
    # setting the stance imports torch._dynamo: seconds, so only where it can matter
    if not {"torch._dynamo", "torch.nn.attention.flex_attention"} & sys.modules.keys():
        return contextlib.nullcontext()
    import torch

    return torch.compiler.set_stance("force_eager")


def _launch(func: Any, args: tuple, kwargs: dict[str, Any], out: Any) -> Launch:
    read, written = _moved(func, args, kwargs, out)
    return Launch(
        name=_name(func),
        read=read,
        written=written,
        requested=sum(read.values()) + sum(written.values()),
        flops=_flops(func, args, kwargs, out),
        gemms=_gemms(func, args),
    )


def _moved(
    func: Any, args: tuple, kwargs: dict[str, Any], out: Any
) -> tuple[dict[str, int], dict[str, int]]:
    kind = _kind(func)
    given = {key: value for key, value in kwargs.items() if key != "out"}
    inputs, outputs = _tensors((args, given)), _tensors(out)
    if kind in PLACES | ADDS:
        placed = _placed(kind, args, inputs)
        read = distinct_bytes(inputs[1:]) | (placed if kind in ADDS else {})
        return read, placed
    if kind in PICKS:
        whole, returned = distinct_bytes(inputs[:1]), distinct_bytes(outputs)
        picked = {name: min(size, *returned.values()) for name, size in whole.items()}
        return picked | distinct_bytes(inputs[1:], first=1), returned
    if kind in OVERWRITES:
        inputs = inputs[1:]
    elif kind.endswith("_like") or kind.startswith("new_"):
        inputs = []
    return distinct_bytes(inputs), distinct_bytes(outputs)


def _placed(kind: str, args: tuple, inputs: "list[torch.Tensor]") -> dict[str, int]:
    import torch

    target, *_, source = inputs
    count = source.numel()
    if kind == "index_put_":
        count = torch.ops.aten.index(target, args[1]).numel()
    elif kind.startswith("scatter"):
        count = inputs[1].numel()
    name = f"placed: {target.dtype} {[*target.shape]}"
    return {name: min(count, target.numel()) * target.element_size()}


def distinct_bytes(tensors: "list[torch.Tensor]", first: int = 0) -> dict[str, int]:
    """Bytes the tensors reach, by storage; what views share or repeat counts once.

    Storages are numbered from ``first``.
    """
    by_storage: dict[int, dict[tuple, torch.Tensor]] = {}
    for tensor in tensors:
        view = (tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        by_storage.setdefault(_storage(tensor), {})[view] = tensor
    return {
        f"{place}: {_shapes(views)}": _reached(list(views.values()))
        for place, views in enumerate(by_storage.values(), first)
    }


def _reached(views: "list[torch.Tensor]") -> int:
    if len(views) == 1 and _is_injective(views[0]):
        sizes = [size for size, stride in zip(views[0].shape, views[0].stride()) if stride]
        return math.prod(sizes) * views[0].element_size() if views[0].numel() else 0
    import torch

    size = views[0].untyped_storage().nbytes()
    total = 0
    for itemsize in {view.element_size() for view in views}:
        reached = torch.zeros(size // itemsize, dtype=torch.bool)
        for view in views:
            if view.element_size() == itemsize:
                reached.as_strided(view.shape, view.stride(), view.storage_offset()).fill_(1)
        total += int(reached.sum()) * itemsize
    return total


def _is_injective(tensor: "torch.Tensor") -> bool:
    """Whether, axes of stride 0 aside, distinct indices are distinct elements."""
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape)):
        if stride == 0 or size == 1:
            continue
        if stride <= reach:
            return False
        reach += stride * (size - 1)
    return True


def _flops(func: Any, args: tuple, kwargs: dict[str, Any], out: Any) -> int:
    from torch.utils.flop_counter import flop_registry, sdpa_flop_count

    if _kind(func) == "_scaled_dot_product_flash_attention_for_cpu":
        return sdpa_flop_count(*(tensor.shape for tensor in args[:3]))
    formula = flop_registry.get(getattr(func, "_overloadpacket", func))
    return int(formula(*args, **kwargs, out_val=out)) if formula else 0


def _gemms(func: Any, args: tuple) -> int:
    kind = _kind(func)
    if kind in ("mm", "bmm", "_scaled_mm"):
        left, right = args[0], args[1]
    elif kind in ("addmm", "baddbmm"):
        left, right = args[1], args[2]
    elif kind.startswith("_scaled_dot_product") and "backward" not in kind:
        (batch, heads, rows, inner), columns = args[0].shape, args[1].shape[2]
        # scores and values, for each head
        return 2 * gemm_count(batch * heads, rows, inner, columns)
    else:
        return 0
    batch = math.prod(left.shape[:-2])
    return gemm_count(batch, left.shape[-2], left.shape[-1], right.shape[-1])


def _is_free(func: Any) -> bool:
    return _kind(func) in FREE or getattr(func, "is_view", False)


def _kind(func: Any) -> str:
    return _name(func).removeprefix("aten::")


def _name(func: Any) -> str:
    return func._schema.name if hasattr(func, "_schema") else str(func)


def _tensors(tree: Any) -> "list[torch.Tensor]":
    import torch
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _storage(tensor: "torch.Tensor") -> int:
    return tensor.untyped_storage()._cdata


def _shapes(views: Mapping[tuple, "torch.Tensor"]) -> str:
    return ", ".join(f"{view.dtype} {[*view.shape]}" for view in views.values())
