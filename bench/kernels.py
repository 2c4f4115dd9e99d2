"""asv's view of the ops: one class an op, made from the suite; a new plugin appears with no edit.

``setup_cache`` holds the whole contest of an op once, in processes of its own, and every ``track_*``
reads one figure from what it left, so that the figures of one row were taken together. A figure that
is missing (the plugin is unknown to this commit, breaks its contract, refuses the sizes ...) is not
a number, which asv stores as not available and counts as no failure.

asv takes this folder from the working tree and the plugins from the commit under test. Relative
imports keep it so: one ruler for all of history.
"""

import math
import sys
import types
from collections.abc import Callable
from typing import Any

from .engine import record, runner, suite
from .engine.metrics import KERNEL, METRICS, Metric

PARAMETERS = ("plugin", "sizes", "dtype")
TIMEOUT_S = 1800.0


def _contest_class(contest: suite.Contest, name: str) -> type:
    key = types.ModuleType(f"{__name__}.{name}")
    # asv names a cache after the module and line of setup_cache, and these share their line
    sys.modules[key.__name__] = key

    def setup_cache(self: object) -> runner.Cache:
        return runner.cache(contest)

    setup_cache.__module__ = key.__name__
    setup_cache.timeout = TIMEOUT_S  # type: ignore[attr-defined]
    body: dict[str, Any] = {
        "setup_cache": setup_cache,
        "params": (contest.plugins, contest.all_sizes, contest.dtypes),
        "param_names": PARAMETERS,
        "version": contest.version,
        "__module__": __name__,
    }
    body |= {f"track_{metric}": _tracker(METRICS[metric]) for metric in KERNEL}
    return type(name, (), body)


def _tracker(metric: Metric) -> Callable[..., Any]:
    def track(self: object, cache: runner.Cache, plugin: str, sizes: str, dtype: str) -> Any:
        found = cache.get((plugin, sizes, dtype, metric.name))
        if found is None:
            return math.nan
        samples, round_name = found
        # asv only stores the number: it tells which figures were taken in the same rounds
        return {"samples": list(samples), "number": round_name}

    track.__name__ = track.__qualname__ = f"track_{metric.name}"
    track.__doc__ = metric.says
    track.unit = metric.unit  # type: ignore[attr-defined]
    track.higher_is_better = metric.higher_is_better  # type: ignore[attr-defined]
    track.pretty_name = metric.says  # type: ignore[attr-defined]
    return track


for _suite in map(suite.load, suite.chosen()):
    for _contest in _suite.contests:
        if _contest.plugins:
            _name = record.class_name(_suite.name, _contest.op)
            globals()[_name] = _contest_class(_contest, _name)
