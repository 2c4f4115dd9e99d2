"""A suite: which sizes and dtypes of which op or layer, read from ``suites/<name>.toml``. No torch.

The contestants of an op are all plugins that implement it, so a new plugin appears with no edit, or
those that its table names; a table ``[layers.<name>]`` names the mixers that meet as layers, the
first as the baseline. Plugins are read off the tree this file stands in, also when an older commit is
being measured: asv wants the same parameters for all of history, and what a commit lacks is not run
there.
"""

import functools
import hashlib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from impl.registry import Plugin, lookup, read

from ..lab.contestant import contestant
from ..record.measurement import dims
from . import layer, rivals
from .checkout import TREE
from .rivals import Baseline

OPTIONAL = {"plugins", "rivals", "modelled_sizes", "trained_sizes", "compiled_sizes", "seconds"}
KEYS = {"sizes", *OPTIONAL, "dtypes", "baseline"}
LAYER_KEYS = {"sizes", "modelled_sizes", "dtypes", "mixers", "seconds"}


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The contestants for one op, or as layers, and the problems they meet on."""

    op: str
    """For ``[layers.<name>]``, ``<name>_layer``."""
    plugins: tuple[str, ...]
    sizes: tuple[str, ...]
    modelled_sizes: tuple[str, ...]
    """Where traces are taken: the interpreter is slow, so a GPU suite names smaller problems."""
    dtypes: tuple[str, ...]
    baseline: str
    """The plugin that the others are shown against; it decides nothing."""
    layers: bool = False
    """Whether the contestants are mixers, with their knobs."""
    trained_sizes: tuple[str, ...] = ()
    """Where the trace covers a training step too: long ones, in which a state kept now and then is little."""
    compiled_sizes: tuple[str, ...] = ()
    """Where kernels are compiled, forward and backward; without any, forward at the modelled sizes."""
    seconds: float | None = None
    """After which no round of a problem begins; fewer rounds widen the intervals."""
    rivals: tuple[Baseline, ...] = ()
    """Timed in the same rounds at the sizes that have a place for them."""

    @property
    def everyone(self) -> tuple[str, ...]:
        """Contestants, then rivals."""
        return (*self.plugins, *(rival.plugin for rival in self.rivals))

    @property
    def all_sizes(self) -> tuple[str, ...]:
        """Timed and traced problems, each once."""
        return tuple(dict.fromkeys([*self.sizes, *self.modelled_sizes, *self.trained_sizes]))

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
    contests += [
        _layers(f"suites/{name}.toml [layers.{layer}]", layer, table)
        for layer, table in data.get("layers", {}).items()
    ]
    return Suite(name=name, contests=tuple(contests), tasks=data.get("tasks", {}))


def names() -> list[str]:
    """Suites of this tree: the files that list ops, layers or tasks."""
    files = sorted((TREE / "suites").glob("*.toml"))
    return [file.stem for file in files if file.stem not in ("gpus", "gate")]


@functools.cache
def plugins() -> Mapping[str, Plugin]:
    """Plugins of this tree by id, whichever commit is installed."""
    found = {}
    for file in sorted((TREE / "impl").rglob("*.py")):
        module = ".".join(file.relative_to(TREE / "impl").with_suffix("").parts)
        found |= {plugin.id: plugin for plugin in read(file, module)}
    return dict(sorted(found.items()))


def of_this_tree(plugin_id: str) -> Plugin:
    """A plugin of this tree, or of the commit where only that has it. ValueError for neither."""
    known = plugins()
    return known[plugin_id] if plugin_id in known else lookup(plugin_id)


def _by_op() -> Mapping[str, Sequence[str]]:
    groups: dict[str, list[str]] = {}
    for plugin in plugins().values():
        if plugin.kind == "impl" and plugin.op:
            groups.setdefault(plugin.op, []).append(plugin.id)
    return groups


def _contest(where: str, op: str, table: Mapping[str, Any], ids: Sequence[str]) -> Contest:
    known = sorted(file.stem for file in (TREE / "correctness" / "ops").rglob("[a-z]*.py"))
    if op not in known:
        raise ValueError(f"{where}: no op is called {op!r}; there are {', '.join(known)}")
    _check_keys(where, table, KEYS)
    if unknown := sorted(set(table.get("plugins", ())) - set(ids)):
        raise ValueError(
            f"{where}: {unknown[0]} does not compute {op}, want some of {', '.join(ids)}"
        )
    ids = table.get("plugins", ids)
    sizes = tuple(table["sizes"])
    modelled = tuple(table.get("modelled_sizes", sizes))
    trained, compiled = (tuple(table.get(f"{what}_sizes", ())) for what in ("trained", "compiled"))
    for each in (*sizes, *modelled, *trained, *compiled):
        try:
            dims(each)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    return Contest(
        op=op,
        plugins=tuple(ids),
        sizes=sizes,
        modelled_sizes=modelled,
        trained_sizes=trained,
        compiled_sizes=compiled,
        dtypes=tuple(table["dtypes"]),
        baseline=table["baseline"],
        seconds=_seconds(where, table),
        rivals=rivals.of(ids, map(dims, sizes)) if _rivalled(where, table) else (),
    )


def _layers(where: str, name: str, table: Mapping[str, Any]) -> Contest:
    _check_keys(where, table, LAYER_KEYS)
    sizes, mixers = tuple(table["sizes"]), tuple(table["mixers"])
    modelled = tuple(table.get("modelled_sizes", sizes))
    try:
        for each in (*sizes, *modelled):
            layer.check(dims(each))
        for each in mixers:
            contestant(each, of_this_tree)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not mixers:
        raise ValueError(f"{where}: no mixers")
    return Contest(
        op=f"{name}_layer",
        plugins=mixers,
        sizes=sizes,
        modelled_sizes=modelled,
        dtypes=tuple(table["dtypes"]),
        baseline=mixers[0],
        seconds=_seconds(where, table),
        layers=True,
    )


def _check_keys(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    if unknown := set(table) - known:
        raise ValueError(f"{where}: unknown {', '.join(sorted(unknown))}; want {sorted(known)}")
    if missing := known - OPTIONAL - set(table):
        raise ValueError(f"{where}: no {', '.join(sorted(missing))}")


def _rivalled(where: str, table: Mapping[str, Any]) -> bool:
    """Whether rivals are timed: not where one without a state would have nothing to attend to."""
    wanted = table.get("rivals", True)
    if not isinstance(wanted, bool):
        raise ValueError(f"{where}: rivals = {wanted!r}, want true or false")
    return wanted


def _seconds(where: str, table: Mapping[str, Any]) -> float | None:
    seconds = table.get("seconds")
    if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
        raise ValueError(f"{where}: seconds = {seconds!r}, want a number above 0")
    return seconds
