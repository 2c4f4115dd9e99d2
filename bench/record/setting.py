"""Setting: values of a plugin's knobs, as words for a reader and as a number for asv, which keeps no words."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from impl.registry import index


def words(knobs: Mapping[str, Any]) -> str:
    """``chunk=64,tile=16``, sorted by name; nothing for a plugin as it stands."""
    return ",".join(f"{name}={knobs[name]}" for name in sorted(knobs))


def code(knobs: Mapping[str, Any]) -> float:
    """A digest of 48 bits, which a float64 holds exactly."""
    return float(int(hashlib.sha256(words(knobs).encode()).hexdigest()[:12], 16))


def every(knobs: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """All settings of declared ``knobs``."""
    for values in itertools.product(*knobs.values()):
        yield dict(zip(knobs, values, strict=True))


def told(plugin: str, number: float | None) -> str:
    """The words behind a code; its digits where the plugin offers no such setting any more."""
    if number is None:
        return ""
    offered = index()[plugin].knobs if plugin in index() else {}
    found = (words(each) for each in every(offered) if code(each) == number)
    return next(found, f"#{int(number):012x}")
