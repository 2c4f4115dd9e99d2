"""asv's view of compiled kernels: registers, spills, shared bytes and matrix instructions by card.

Exact, without noise and without a GPU, so a change between two commits is a fact.
"""

import functools

from .binary import compiled
from .engine import suite, trackers
from .record import benchmark_name

TIMEOUT_S = 1800.0

for _suite in suite.chosen():
    for _contest in compiled.contests(_suite):
        _name = benchmark_name.class_name(_suite, _contest.op)
        globals()[_name] = trackers.tracked(
            __name__,
            _name,
            functools.partial(compiled.cache, _contest),
            axes=compiled.axes(_contest),
            version=_contest.version,
            metrics=compiled.metrics(_contest),
            timeout_s=TIMEOUT_S,
        )
