"""Ceilings of named machines, and every kernel on the roofline under them.

Two bounds, which say different things. No implementation takes less time than it takes to move the
compulsory bytes, every input read once and every output written once:

    bound = compulsory / bandwidth                       efficiency     = bound / time

No lower bound is known on the operations of a function, so they have no part in it. What one kernel
moves and multiplies bounds that kernel alone, and names what it waits for:

    own_bound = max(bytes / bandwidth, flops / peak)     own_efficiency = own_bound / time

The ceilings are those measured on the machine at the same commit, or at its newest commit that has
any, or the data sheet's; ``ceiling`` says which. On a CPU, whose samples start from warm caches,
the bandwidth is that of a copy as large as the compulsory bytes, and for the own bytes, which may
go round in a cache, that of the fastest copy. ``flops`` counts matrix products only.
"""

from collections.abc import Iterable
from typing import Any

from ..engine.record import Measurement

Row = dict[str, Any]


def ceilings(measurements: Iterable[Measurement]) -> dict[str, list[Row]]:
    """Machine to its ceilings, newest first: commit, committed, origin, bytes_per_s, flops_per_s.

    ``copies`` has the bandwidth by the bytes moved. ``measurements`` are those of
    ``record.read_all(aside=True)``, others are passed over.
    """
    return {}


def rooflines(measurements: Iterable[Measurement]) -> dict[str, list[Row]]:
    """Machine to its kernels, each at the newest commit at which it was timed and traced.

    ``measurements`` are both those of ``record.read_all()`` and those of ``aside=True``.
    """
    return {}
