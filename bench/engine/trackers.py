"""Classes that asv benchmarks, made from data: one pass measures, one tracker a metric reads.

``setup_cache`` measures everything of a class once, in a fresh process, and every ``track_*`` reads
one figure from what it left, so that the figures of a class were taken together. A figure that is
missing is not a number, which asv stores as not available and counts as no failure.
"""

import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .metrics import METRICS, Metric

Cache = Mapping[tuple[str, ...], tuple[tuple[float, ...], int]]
"""Values of the parameters and the metric, to the samples and the name of their rounds."""


def tracked(
    module: str,
    name: str,
    cache: Callable[[], Cache],
    *,
    axes: Mapping[str, Sequence[str]],
    version: str,
    metrics: Sequence[str],
    timeout_s: float,
) -> type:
    """A class for asv, to be put into ``module`` as ``name``; ``axes`` are its parameters."""
    # asv names a cache after the module and line of setup_cache, and these share their line
    key = types.ModuleType(f"{module}.{name}")
    sys.modules[key.__name__] = key

    def setup_cache(self: object) -> Cache:
        return cache()

    setup_cache.__module__ = key.__name__
    setup_cache.timeout = timeout_s  # type: ignore[attr-defined]
    body: dict[str, Any] = {
        "setup_cache": setup_cache,
        "params": tuple(map(tuple, axes.values())),
        "param_names": tuple(axes),
        "version": version,
        "__module__": module,
    }
    body |= {f"track_{metric}": _tracker(METRICS[metric]) for metric in metrics}
    return type(name, (), body)


def _tracker(metric: Metric) -> Callable[..., Any]:
    def read(self: object, cache: Cache, *place: str) -> Any:
        found = cache.get((*place, metric.name))
        if found is None:
            return math.nan
        samples, round_name = found
        # asv only stores the number: it tells which figures were taken in the same rounds
        return {"samples": list(samples), "number": round_name}

    read.__name__ = read.__qualname__ = f"track_{metric.name}"
    read.__doc__ = metric.says
    for attribute in ("unit", "higher_is_better"):
        setattr(read, attribute, getattr(metric, attribute))
    read.pretty_name = metric.says  # type: ignore[attr-defined]
    return read
