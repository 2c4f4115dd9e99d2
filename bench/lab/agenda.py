"""Agenda: the tryouts that a suite lists, each one task and the mixers that meet on it.

A suite lists ``[tasks.<name>]`` with ``mixers``, ``seeds`` (how many, from 0) and, where it is not
the task's own, ``tokens``. ``[tasks.<name>.more]`` gives those mixers that a verdict rests on more
seeds. ``ladder`` names the mixers whose largest learning rate is sought. The controls of the task always
run.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..engine import suite
from ..engine.ruler import from_tree
from .contestant import contestant

if TYPE_CHECKING:
    from suites.tasks import Task

TRACKED = ("accuracy", "accuracy_trained", "tokens_to_threshold", "loss", "contract")
"""Metrics of a mixer on a task, as ``bench/tasks.py`` tracks them."""
LADDER = "largest_rate"
"""Metric of the mixers on the ladder of a tryout."""
KEYS = {"mixers", "seeds", "tokens", "more", "ladder"}
DTYPE = "float32"


@dataclass(frozen=True, kw_only=True)
class Tryout:
    """One task and the mixers that meet on it."""

    task: "Task"
    mixers: tuple[str, ...]
    seeds: tuple[int, ...]
    tokens: int
    listed: tuple[str, ...] = ()
    """Mixers of the suite where ``mixers`` are only some of them."""
    more: Mapping[str, int] = field(default_factory=dict)
    """Seeds of the mixers that have more of them."""
    ladder: tuple[str, ...] = ()
    """Mixers whose largest learning rate is sought."""

    def seeds_of(self, mixer: str) -> tuple[int, ...]:
        """The seeds of one mixer, the first of them those of every mixer."""
        return tuple(range(self.more.get(mixer, len(self.seeds))))

    @property
    def subject(self) -> str:
        """The task's name as the record makes a class name of it."""
        return self.task.name.replace("-", "_")

    @property
    def tracked(self) -> tuple[str, ...]:
        """Metrics of this task: its own score, and what all tasks have."""
        sought = (LADDER,) if self.ladder else ()
        if self.task.metric == "accuracy":
            return (*TRACKED, *sought)
        own = {"accuracy": self.task.metric}
        # a loss is told in nat, which a signal's is not
        left_out = ("accuracy_trained", "loss") if self.task.signal else ("accuracy_trained",)
        return (*(own.get(name, name) for name in TRACKED if name not in left_out), *sought)

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Parameters of asv's class, the same as those of the kernels'."""
        return {"plugin": self.listed or self.mixers, "sizes": (self.task.name,), "dtype": (DTYPE,)}

    @property
    def version(self) -> str:
        """Changes when the task, its budget or the rates do, never when a mixer is added."""
        settled: dict[str, Any] = {
            name: value
            for name, value in vars(self.task).items()
            if isinstance(value, int | float | str)
            and name not in ("says", "metric", "best", "optimizer")
        }
        if self.task.metric != "accuracy":
            settled |= {"metric": self.task.metric, "best": self.task.best}
        if self.task.curriculum:
            settled["curriculum"] = self.task.curriculum
        if self.task.optimizer != "adamw":
            settled["optimizer"] = self.task.optimizer
        return hashlib.sha256(repr((settled, self.seeds, self.tokens)).encode()).hexdigest()[:12]


def tryouts(name: str) -> Iterator[Tryout]:
    """The tryouts of the suite called ``name``. ValueError says what is wrong with its tables."""
    find = from_tree("suites.tasks").find
    for task_name, table in suite.load(name).tasks.items():
        where = f"suites/{name}.toml [tasks.{task_name}]"
        if unknown := set(table) - KEYS:
            raise ValueError(f"{where}: unknown {', '.join(sorted(unknown))}; want {sorted(KEYS)}")
        if missing := {"mixers", "seeds"} - set(table):
            raise ValueError(f"{where}: no {', '.join(sorted(missing))}")
        try:
            held = tryout(find(task_name), table["mixers"], table["seeds"], table.get("tokens"))
            yield _with_ladder(_with_more(held, table.get("more", {})), table.get("ladder", ()))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def tryout(task: "Task", mixers: Sequence[str], seeds: int, tokens: int | None = None) -> Tryout:
    """A tryout of ``mixers`` and the task's controls on seeds 0 ... ``seeds`` - 1."""
    if seeds < 1:
        raise ValueError(f"seeds = {seeds}, want at least 1")
    everyone = tuple(dict.fromkeys([*mixers, *task.must_pass, *task.must_fail]))
    for mixer in everyone:
        # of this tree: an older commit may lack it, and it is then not run there
        contestant(mixer, suite.of_this_tree)
    return Tryout(
        task=task, mixers=everyone, seeds=tuple(range(seeds)), tokens=tokens or task.tokens
    )


def _with_more(held: Tryout, more: Mapping[str, Any]) -> Tryout:
    """The tryout with more seeds for those that ``more`` names."""
    if strangers := set(more) - set(held.mixers):
        raise ValueError(f"more has {', '.join(sorted(strangers))}, want some of its mixers")
    for mixer, seeds in more.items():
        if not isinstance(seeds, int) or seeds <= len(held.seeds):
            raise ValueError(f"more seeds of {mixer}: {seeds!r}, want more than {len(held.seeds)}")
    return dataclasses.replace(held, more=dict(more))


def _with_ladder(held: Tryout, ladder: Sequence[str]) -> Tryout:
    """The tryout with the largest rates of ``ladder`` to be found."""
    if strangers := set(ladder) - set(held.mixers):
        raise ValueError(f"ladder has {', '.join(sorted(strangers))}, want some of its mixers")
    return dataclasses.replace(held, ladder=tuple(ladder))
