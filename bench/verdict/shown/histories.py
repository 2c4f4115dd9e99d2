"""Figures and verdicts over commits as the site shows them.

A series names its commits by their place in a list, since every series of a subject shares them. A
series of one point is no history and is left out; the tables have its figure.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...record.json_value import finite
from ...record.measurement import Measurement
from ..history.changes import Change
from ..history.points import Series

Row = dict[str, Any]
IDENTITY = (
    "plugin", "metric", "sizes", "dtype", "machine", "kind", "suite", "software", "settings", "knobs",
)  # fmt: skip
"""What a series is of; its unit follows from the metric."""


def histories(series: Iterable[Series], moments: Mapping[str, tuple[Any, ...]]) -> Row:
    """Commits in the order of history, and every series of at least two points on them."""
    drawn = [one for one in series if len(one.points) > 1]
    dates = {point.commit: point.committed for one in drawn for point in one.points}
    commits = sorted(dates, key=lambda commit: moments[commit])
    place = {commit: i for i, commit in enumerate(commits)}
    rows = [
        _identity(one)
        | {"points": [[place[at.commit], *_ends(at.value, at.low, at.high)] for at in one.points]}
        for one in drawn
    ]
    return {"commits": [[commit, dates[commit]] for commit in commits], "series": rows}


def changes(found: Iterable[Change]) -> list[Row]:
    """Every change with its direction: worse, recovered, better, or only shown."""
    names = ("commit", "committed", "last", "before", "after", "size", "difference", "recovered")
    return [
        _identity(one.series)
        | {name: getattr(one, name) for name in names}
        | {"interval": [finite(one.low), finite(one.high)], "direction": direction(one)}
        for one in found
    ]


def direction(one: Change) -> str:
    """In one word, which way a change went."""
    if one.worse:
        return "recovered" if one.recovered else "worse"
    return "better" if one.series.directed else "shown"


def moments(known: Sequence[Measurement]) -> dict[str, tuple[Any, ...]]:
    """Commit to its place in the order of history."""
    return {one.commit: one.moment for one in known}


def _identity(one: Series) -> Row:
    return {name: getattr(one, name) for name in IDENTITY}


def _ends(*values: float) -> list[float | None]:
    return [finite(value) for value in values]
