"""Axis sizes: reads them off the annotations of a plugin and refuses inputs that do not fit."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, get_args

from torch import Tensor


def axis_sizes(plugin: Callable[..., Any], *inputs: Tensor | None) -> dict[str, int]:
    """Size of every axis that the annotations of ``plugin`` name, for inputs in its own order.

    ValueError names the input and the axis when two inputs disagree or a tensor has another rank, or
    when H heads cannot share those of G groups evenly.
    """
    sizes: dict[str, int] = {}
    for (name, axes), x in zip(_annotated_axes(plugin), inputs, strict=True):
        if x is None:
            continue
        if x.dim() != len(axes):
            raise ValueError(f"{name} has {x.dim()} axes, want {' '.join(axes)}")
        for axis, size in zip(axes, x.shape, strict=True):
            # V+1 is an axis that is one longer than V
            alone, _, more = axis.partition("+")
            known = sizes.setdefault(alone, size - int(more or 0)) + int(more or 0)
            if known != size:
                raise ValueError(f"{name} has {axis}={size}, want {axis}={known}")
    # G in the place of H: heads that others share
    shared = any("G" in axes and "H" not in axes for _, axes in _annotated_axes(plugin))
    if shared and sizes.get("H", 0) % sizes["G"]:
        raise ValueError(f"H={sizes['H']}, want a multiple of G={sizes['G']}")
    return sizes


@functools.cache
def _annotated_axes(plugin: Callable[..., Any]) -> list[tuple[str, tuple[str, ...]]]:
    found = []
    for name, parameter in inspect.signature(plugin).parameters.items():
        annotation = parameter.annotation
        if isinstance(annotation, types.UnionType):
            annotation = next(each for each in get_args(annotation) if each is not types.NoneType)
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and hasattr(annotation, "dim_str"):
            found.append((name, tuple(annotation.dim_str.split())))
    return found
