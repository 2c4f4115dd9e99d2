"""asv's view of ops and layers: one class each, made from the suite; a plugin appears with no edit.

asv takes this folder from the working tree and the plugins from the commit under test. Relative
imports keep it so: one ruler for all of history.
"""

import functools

from .engine import runner, suite, trackers
from .engine.metrics import KERNEL, RIVALS, SETTING
from .record import benchmark_name

TIMEOUT_S = 1800.0

for _suite in map(suite.load, suite.chosen()):
    for _contest in _suite.contests:
        if not _contest.plugins:
            continue
        _name = benchmark_name.class_name(_suite.name, _contest.op)
        globals()[_name] = trackers.tracked(
            __name__,
            _name,
            functools.partial(runner.cache, _contest),
            axes={
                "plugin": _contest.everyone,
                "sizes": _contest.all_sizes,
                "dtype": _contest.dtypes,
            },
            version=_contest.version,
            metrics=(*KERNEL, *RIVALS, SETTING),
            timeout_s=TIMEOUT_S,
        )
