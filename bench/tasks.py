"""asv's view of the tasks: one class a task, made from the suite; a mixer is a line in the suite.

``setup_cache`` trains every mixer of a task once, on the same seeds, and every ``track_*`` reads one
figure a seed from what it left. A figure that is missing (the mixer is unknown to this commit, breaks
a law, a seed never reached the threshold ...) is a skip, which asv stores as not available.
"""

import sys
import types
from collections.abc import Callable
from typing import Any

from .engine import record, runner, suite, tryout
from .engine.metrics import METRICS, Metric

TIMEOUT_S = 3600.0


def _task_class(held: tryout.Tryout, name: str) -> type:
    key = types.ModuleType(f"{__name__}.{name}")
    # asv names a cache after the module and line of setup_cache, and these share their line
    sys.modules[key.__name__] = key

    def setup_cache(self: object) -> runner.Cache:
        return tryout.cache(held)

    setup_cache.__module__ = key.__name__
    setup_cache.timeout = TIMEOUT_S  # type: ignore[attr-defined]
    body: dict[str, Any] = {
        "setup_cache": setup_cache,
        "params": (held.mixers, (held.task.name,), (tryout.DTYPE,)),
        "param_names": ("plugin", "sizes", "dtype"),
        "version": held.version,
        "__module__": __name__,
    }
    body |= {f"track_{metric}": _tracker(METRICS[metric]) for metric in tryout.TRACKED}
    return type(name, (), body)


def _tracker(metric: Metric) -> Callable[..., Any]:
    def track(self: object, cache: runner.Cache, plugin: str, sizes: str, dtype: str) -> Any:
        found = cache.get((plugin, sizes, dtype, metric.name))
        if found is None:
            raise NotImplementedError(f"no {metric.name} of {plugin}")
        samples, round_name = found
        # asv only stores the number: it tells which figures were taken on the same seeds
        return {"samples": list(samples), "number": round_name}

    track.__name__ = track.__qualname__ = f"track_{metric.name}"
    track.__doc__ = metric.says
    track.unit = metric.unit  # type: ignore[attr-defined]
    track.higher_is_better = metric.higher_is_better  # type: ignore[attr-defined]
    track.pretty_name = metric.says  # type: ignore[attr-defined]
    return track


for _suite in suite.chosen():
    for _held in tryout.tryouts(_suite):
        _name = record.class_name(_suite, _held.task.name.replace("-", "_"))
        globals()[_name] = _task_class(_held, _name)
