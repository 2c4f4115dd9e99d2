"""What a change may lose: ``suites/gate.toml``, and the rivals that a plugin is timed against.

A metric that the gate compares and the file does not name is an error: nothing is let through by
having been forgotten. No torch.
"""

import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..engine import rivals
from ..engine.checkout import TREE
from ..engine.metrics import KERNEL, METRICS, STATIC
from ..lab.agenda import TRACKED

FILE = TREE / "suites" / "gate.toml"
Worse = Literal["rise", "drop", "occupancy", "vanish", "never"]
MEASURED = ("rise", "drop")
"""Kinds of worsening that have a size."""
COMPARED = tuple(
    name
    for name in dict.fromkeys((*KERNEL, *STATIC, *TRACKED))
    if name != "contract" and (METRICS[name].exact or name in TRACKED)
)
"""Metrics that are compared without a clock; the contract is no figure that could be allowed."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What is worse in one metric, and by how much it may be."""

    metric: str
    worse: Worse
    reason: str
    by: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``suites/gate.toml``."""

    margin: float
    """Share of the base's time by which a call may be slower and count as equal."""
    confidence: float
    rounds: int
    budget_s: float
    allowances: Mapping[str, Allowance]
    baselines: tuple[rivals.Baseline, ...]


@functools.cache
def settings(file: Path = FILE) -> Settings:
    """What the file says. ValueError says what is wrong with it."""
    where = f"suites/{file.name}"
    try:
        data = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{where}: {error}") from error
    _keys(where, data, {"clock", "allowances", "baselines"})
    clock = data["clock"]
    _keys(f"{where} [clock]", clock, {"margin", "confidence", "rounds", "budget_s"})
    if not (0 < clock["margin"] < 1 and 0 < clock["confidence"] < 1):
        raise ValueError(f"{where} [clock]: want margin and confidence between 0 and 1")
    if clock["rounds"] < 1 or clock["budget_s"] <= 0:
        raise ValueError(f"{where} [clock]: want rounds and budget_s above 0")
    _keys(f"{where} [allowances]", data["allowances"], set(COMPARED))
    return Settings(
        **clock,
        allowances={
            name: _allowance(f"{where} allowances.{name}", name, table)
            for name, table in data["allowances"].items()
        },
        baselines=rivals.read(data["baselines"]),
    )


def _allowance(where: str, metric: str, table: Mapping[str, Any]) -> Allowance:
    wanted = {"worse", "reason"} | ({"by"} if table.get("worse") in MEASURED else set())
    _keys(where, table, wanted)
    if table["worse"] not in get_args(Worse):
        raise ValueError(f"{where}: worse = {table['worse']!r}, want one of {get_args(Worse)}")
    if not 0 <= table.get("by", 0.0) < float("inf"):
        raise ValueError(f"{where}: by = {table['by']}, want a number of at least 0")
    return Allowance(metric=metric, **table)


def _keys(where: str, table: Mapping[str, Any], wanted: "Sequence[str] | set[str]") -> None:
    if unknown := set(table) - set(wanted):
        raise ValueError(f"{where}: unknown {', '.join(sorted(unknown))}")
    if missing := set(wanted) - set(table):
        raise ValueError(f"{where}: no {', '.join(sorted(missing))}")
