"""A suite: which sizes and dtypes of which op, read from ``suites/<name>.toml``. No torch.

The contestants of an op are all plugins that implement it, so a new plugin appears with no edit. They
are read off the tree this file stands in, also when an older commit is being measured: asv wants the
same parameters for all of history, and what a commit lacks is not run there.
"""

import functools
import hashlib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from impl.registry import Plugin, read

from .record import dims

TREE = Path(__file__).parents[2]
KEYS = {"sizes", "modelled_sizes", "dtypes", "baseline"}


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The contestants for one op and the problems they meet on."""

    op: str
    plugins: tuple[str, ...]
    sizes: tuple[str, ...]
    modelled_sizes: tuple[str, ...]
    """Where traces are taken: the interpreter is slow, so a GPU suite names smaller problems."""
    dtypes: tuple[str, ...]
    baseline: str
    """The plugin that the others are shown against; it decides nothing."""

    @property
    def all_sizes(self) -> tuple[str, ...]:
        """Timed and traced problems, each once."""
        return tuple(dict.fromkeys([*self.sizes, *self.modelled_sizes]))

    @property
    def version(self) -> str:
        """Changes when the problems do, never when a comment or a contestant does."""
        problems = repr((self.op, sorted(self.all_sizes), sorted(self.dtypes)))
        return hashlib.sha256(problems.encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Named contests, and the tasks as the file gives them."""

    name: str
    contests: tuple[Contest, ...]
    tasks: Mapping[str, Mapping[str, Any]]


def chosen() -> list[str]:
    """Names of the suites that asv sees: ``MADBENCH_SUITE``, divided by commas; smoke by default."""
    wanted = os.environ.get("MADBENCH_SUITE", "smoke")
    return names() if wanted == "all" else wanted.split(",")


def load(name: str) -> Suite:
    """The suite called ``name``. ValueError says what is wrong with the file, or which there are."""
    file = TREE / "suites" / f"{name}.toml"
    known = names()
    if name not in known:
        raise ValueError(f"no suite is called {name!r}; there are {', '.join(known)}")
    try:
        data = tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"suites/{name}.toml: {error}") from error
    by_op = _by_op()
    contests = [
        _contest(f"suites/{name}.toml [ops.{op}]", op, table, by_op.get(op, ()))
        for op, table in data.get("ops", {}).items()
    ]
    return Suite(name=name, contests=tuple(contests), tasks=data.get("tasks", {}))


def names() -> list[str]:
    """Suites of this tree: the files that list ops or tasks."""
    files = sorted((TREE / "suites").glob("*.toml"))
    return [file.stem for file in files if file.stem != "gpus"]


@functools.cache
def plugins() -> Mapping[str, Plugin]:
    """Plugins of this tree by id, whichever commit is installed."""
    found = {}
    for file in sorted((TREE / "impl").rglob("*.py")):
        module = ".".join(file.relative_to(TREE / "impl").with_suffix("").parts)
        found |= {plugin.id: plugin for plugin in read(file, module)}
    return dict(sorted(found.items()))


def _by_op() -> Mapping[str, Sequence[str]]:
    groups: dict[str, list[str]] = {}
    for plugin in plugins().values():
        if plugin.kind == "impl" and plugin.op:
            groups.setdefault(plugin.op, []).append(plugin.id)
    return groups


def _contest(where: str, op: str, table: Mapping[str, Any], ids: Sequence[str]) -> Contest:
    known = sorted(file.stem for file in (TREE / "correctness" / "ops").glob("[a-z]*.py"))
    if op not in known:
        raise ValueError(f"{where}: no op is called {op!r}; there are {', '.join(known)}")
    if unknown := set(table) - KEYS:
        raise ValueError(f"{where}: unknown {', '.join(sorted(unknown))}; want {sorted(KEYS)}")
    for key in ("sizes", "dtypes", "baseline"):
        if key not in table:
            raise ValueError(f"{where}: no {key}")
    sizes = tuple(table["sizes"])
    modelled = tuple(table.get("modelled_sizes", sizes))
    for each in (*sizes, *modelled):
        try:
            dims(each)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    return Contest(
        op=op,
        plugins=tuple(ids),
        sizes=sizes,
        modelled_sizes=modelled,
        dtypes=tuple(table["dtypes"]),
        baseline=table["baseline"],
    )
