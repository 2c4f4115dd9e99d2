"""Standard output of the commands: JSON, a table, or an entry with a line a field."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..record.json_value import plain


def print_json(value: Any) -> int:
    """The value on standard output; the status is 0."""
    print(written(value))
    return 0


def written(value: Any) -> str:
    """The value as indented JSON."""
    return json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> int:
    """Rows under their columns, as wide as the terminal; the status is 0."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    # a pipe has no width of its own: nothing is folded there
    Console(width=None if sys.stdout.isatty() else 10_000, soft_wrap=False).print(table)
    return 0


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        # what was counted is shown whole
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " ".join(_cell(one) or "?" for one in value)
    return str(value)


def print_entry(row: Mapping[str, Any]) -> int:
    """Name and value of each field that has one; the status is 0."""
    for name, value in row.items():
        if value is None or value == [] or value == {}:
            continue
        if isinstance(value, list) and not all(isinstance(one, int | float) for one in value):
            print(f"{name}:")
            for one in value:
                says = isinstance(one, Mapping) and "says" in one
                print(
                    f"  - {one['id']} ({one['role']}): {one['says']}"
                    if says
                    else f"  - {_line(one)}"
                )
        else:
            print(f"{name}: {_line(value)}")
    return 0


def _line(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_line(one)}" for name, one in value.items() if one is not None)
    if isinstance(value, list | tuple):
        return ", ".join(map(_line, value))
    return str(value)
