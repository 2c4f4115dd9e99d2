"""Who is fastest at an op, on one machine, and by how much against the baselines.

A row's ratio is its time over the baseline's: below 1 is faster. Where both were taken in the same
rounds it is ``paired``, its interval that of the median of the rounds' ratios. Where they were not,
its ends are those of two intervals of which each is taken at a confidence that leaves 99% to both.
A baseline of another op computes another function (``same_function`` is False): the ratio is then
about what a layer costs, not about the same answer. FLOPs and bytes of both sides stand beside it.
"""

from collections.abc import Iterable
from typing import Any

from ..engine.record import Measurement

Row = dict[str, Any]


def leaderboards(measurements: Iterable[Measurement], reasons: Iterable[Row]) -> list[Row]:
    """One board an op or layer, machine, sizes and dtype, at its newest commit.

    ``measurements`` are both those of ``record.read_all()`` and those of ``aside=True``;
    ``reasons`` are those of ``shown.sides.reasons``, which say why a contestant is absent.
    """
    return []
