"""Values in JSON's own types: JSON has no infinity and no nan, they are null."""

import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """The value in JSON's own types, whatever has none as text."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return finite(value)
    return value if value is None or isinstance(value, str | int) else str(value)


def finite(number: float) -> float | None:
    """The number, or None for an end without bound."""
    return number if math.isfinite(number) else None
