"""Rivals: what every idea is shown against at the same sizes, though it computes another function.

``suites/gate.toml`` lists them and says which of their axes is which of an op's. A contest times its
rivals in the rounds of its own contestants, so that the ratio of two times can be taken round by
round; nothing else of them is measured there. No torch.
"""

import functools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .checkout import TREE

FILE = TREE / "suites" / "gate.toml"
KEYS = {"name", "plugin", "op", "axes"}


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A rival, and the problem that it computes at the sizes of another op's."""

    name: str
    plugin: str
    op: str
    axes: tuple[Mapping[str, str | int], ...]

    def sizes(self, problem: Mapping[str, int]) -> Mapping[str, int] | None:
        """The rival's sizes at those of ``problem``; None where the problem has no such axes."""
        for table in self.axes:
            wanted = {axis for axis in table.values() if isinstance(axis, str)}
            if wanted <= set(problem):
                return {
                    name: problem[axis] if isinstance(axis, str) else axis
                    for name, axis in table.items()
                }
        return None


@functools.cache
def baselines() -> tuple[Baseline, ...]:
    """Those of ``suites/gate.toml``. ValueError says what is wrong with them."""
    try:
        return read(tomllib.loads(FILE.read_text())["baselines"])
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ValueError(f"suites/{FILE.name}: {error}") from error


def read(tables: Iterable[Mapping[str, Any]]) -> tuple[Baseline, ...]:
    """The baselines of parsed tables. ValueError says what is wrong with one."""
    found = []
    for table in tables:
        if set(table) != KEYS:
            told = ", ".join(sorted(set(table) ^ KEYS))
            raise ValueError(f"suites/{FILE.name} [[baselines]]: {told}, want {sorted(KEYS)}")
        found.append(Baseline(**{**table, "axes": tuple(table["axes"])}))
    return tuple(found)


def of(plugins: Sequence[str], problems: Iterable[Mapping[str, int]]) -> tuple[Baseline, ...]:
    """The baselines that are no contestant themselves and have sizes at some of the problems."""
    every = list(problems)
    return tuple(
        each
        for each in baselines()
        if each.plugin not in plugins and any(each.sizes(problem) for problem in every)
    )
