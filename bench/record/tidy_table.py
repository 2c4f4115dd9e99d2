"""Measurements as one tidy table: a data frame, CSV or Parquet."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from .measurement import Measurement

if TYPE_CHECKING:
    import pandas


def frame(measurements: Iterable[Measurement]) -> "pandas.DataFrame":
    """One row a measurement, the stack in a column a package, samples as lists."""
    import pandas

    rows = []
    for each in measurements:
        row = {one.name: getattr(each, one.name) for one in fields(each) if one.name != "stack"}
        row |= {"value": each.value, "samples": list(each.samples)}
        rows.append(row | dict(each.stack))
    columns = [one.name for one in fields(Measurement) if one.name != "stack"]
    return pandas.DataFrame(rows, columns=None if rows else [*columns, "value"])


def export(measurements: Sequence[Measurement], place: Path) -> None:
    """Write the tidy table as CSV or Parquet, by the ending of ``place``."""
    table = frame(measurements)
    if place.suffix == ".parquet":
        table.to_parquet(place, index=False)
    elif place.suffix == ".csv":
        table["samples"] = [" ".join(map(repr, each)) for each in table["samples"]]
        table.to_csv(place, index=False)
    else:
        raise ValueError(f"{place.name}, want a name that ends in .csv or .parquet")
