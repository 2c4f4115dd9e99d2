"""asv's view of the tasks: one class a task, made from the suite; a mixer is a line in the suite.

asv takes this folder and the tasks from the working tree and the mixers from the commit under test.
Relative imports keep it so: one ruler for all of history.
"""

import functools

from .engine import suite, trackers
from .lab import agenda, tryout
from .record import benchmark_name

TIMEOUT_S = 3600.0

for _suite in suite.chosen():
    for _held in agenda.tryouts(_suite):
        _name = benchmark_name.class_name(_suite, _held.subject)
        globals()[_name] = trackers.tracked(
            __name__,
            _name,
            functools.partial(tryout.cache, _held),
            axes=_held.axes,
            version=_held.version,
            metrics=_held.tracked,
            timeout_s=TIMEOUT_S,
        )
