"""Tuned settings: what ``madbench tune`` chose for a machine, and what a run there takes from it.

``suites/tuned/<machine>.toml`` has a table a plugin, sizes and dtype. Runs read it and never write it. A
setting holds on that machine and that problem alone: nothing is guessed for its neighbours, a plugin
whose id carries knobs keeps these, and what was left as the code has it stays so when the code changes.
"""

import functools
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..hardware import machine
from .admission import write_atomically
from .checkout import TREE
from .contest import Problem

FOLDER = TREE / "suites" / "tuned"
HEADER = """\
# Written by `madbench tune`, which chooses; a run only reads. Medians and the ends of their 99% intervals
# in us; `ratio` is the time over that of the code's own setting, in the same rounds.
"""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting that was timed, or refused."""

    knobs: Mapping[str, Any]
    time: Sequence[float] = ()
    """Median of a call and the ends of its interval, in us."""
    train_time: Sequence[float] = ()
    ratio: Sequence[float] = ()
    """What decides, over the code's own setting: median and the ends of its interval."""
    refused: str = ""
    """Why there is no figure."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The setting of one plugin on one problem, and all that was tried."""

    plugin: str
    sizes: str
    dtype: str
    knobs: Mapping[str, Any]
    """Empty: as the code has it, for nothing was surely faster."""
    metric: str
    """``train_time`` where there is one, a step having its forward pass in it; else ``time``."""
    commit: str
    stack: Mapping[str, str]
    tried: tuple[Trial, ...]

    @property
    def problem(self) -> tuple[str, str, str]:
        """What the setting is for."""
        return self.plugin, self.sizes, self.dtype


def settled(problem: Problem, folder: Path | None = None) -> Problem:
    """The problem with the settings that are stored for this machine. ValueError for a broken file."""
    if problem.layers:
        return problem
    name = machine.record(problem.device).name
    sizes = "-".join(f"{axis}{size}" for axis, size in problem.sizes.items())
    stored = known((folder or FOLDER) / f"{name}.toml")
    found = {
        plugin: stored[plugin, sizes, problem.dtype].knobs
        for plugin in problem.plugins
        if (plugin, sizes, problem.dtype) in stored
    }
    return replace(problem, knobs={plugin: knobs for plugin, knobs in found.items() if knobs})


def known(file: Path) -> Mapping[tuple[str, str, str], Choice]:
    """The choices of a file by problem; none where there is no file."""
    return _parsed(file, file.read_text(encoding="utf-8")) if file.is_file() else {}


@functools.cache
def _parsed(file: Path, text: str) -> Mapping[tuple[str, str, str], Choice]:
    found: dict[tuple[str, str, str], Choice] = {}
    try:
        for table in tomllib.loads(text).get("tuned", []):
            tried = tuple(Trial(**each) for each in table.pop("tried"))
            choice = Choice(**table, tried=tried)
            if choice.problem in found:
                raise ValueError(f"{' '.join(choice.problem)} stands there twice")
            if choice.knobs and dict(choice.knobs) not in [each.knobs for each in timed(tried)]:
                raise ValueError(f"{' '.join(choice.problem)}: the setting chosen was not timed")
            found[choice.problem] = choice
    except (tomllib.TOMLDecodeError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"suites/tuned/{file.name}: {error}") from error
    return found


def timed(tried: Iterable[Trial]) -> list[Trial]:
    """Those of ``tried`` that were not refused."""
    return [each for each in tried if not each.refused]


def keep(file: Path, choice: Choice) -> None:
    """Write a choice beside those of other problems, in one step."""
    stored = {**known(file), choice.problem: choice}
    tables = [_table(stored[problem]) for problem in sorted(stored)]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, "\n".join([HEADER, *tables]))


def _table(choice: Choice) -> str:
    lines = ["[[tuned]]"]
    for name in (each.name for each in fields(Choice) if each.name != "tried"):
        lines.append(f"{name} = {_toml(getattr(choice, name))}")
    tried = [
        {name: value for name, value in asdict(each).items() if value} for each in choice.tried
    ]
    # the code's own setting has no knobs to name, yet is a trial like the others
    rows = [f"    {_toml({'knobs': {}} | each)}," for each in tried]
    return "\n".join([*lines, "tried = [", *rows, "]", ""])


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{name} = {_toml(each)}" for name, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, str) else repr(value)
