"""asv's view of the machine: what a copy and a matrix product reach, beside the figures of a commit.

Nothing of the project is timed here, so a change between two commits is the machine's.
"""

from .engine import ceilings, runner, trackers
from .engine.metrics import CEILINGS

TIMEOUT_S = 300.0

globals()[ceilings.NAME] = trackers.tracked(
    __name__,
    ceilings.NAME,
    lambda: ceilings.cache(runner.default_device()),
    axes=ceilings.axes(),
    version=ceilings.version(),
    metrics=CEILINGS,
    timeout_s=TIMEOUT_S,
)
