"""Slow-downs planted on purpose: copies of a plugin, unchanged at the base and slower at the head.

Both sides of a planted change are trees made from this one. Each has, for every plant, a file
``impl/planted/<plant>/<plugin>.py`` with the plugin's own source; at the head one thing is edited in:

    sleep   a busy wait of a share of the call, on the GPU its own spinning kernel
    copy    extra copies of a small block, as many as take about that share
    tile    another value of a knob: as much slower, or faster, as that happens to be
    same    nothing

A share that is asked for is what the plant was sized to, from one measurement; what it came to is
measured with everything else.
"""

import ast
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from impl.registry import Plugin, lookup

from ..engine import clock
from ..engine.checkout import TREE, Commit, here
from ..engine.noise import median
from ..lab.workers import Worker
from . import turns
from .turns import Entry

PLANTED = "planted"
MEASURED = ("impl", "correctness")
SIZING = 15
"""Samples behind the size of a plant."""
BLOCK = 2**12
"""Elements of a copy. The cost of one large copy follows the allocator's habits, not its size; that
of many small ones follows their number."""
TRIED = 50
"""Copies timed together to know the cost of one."""


@dataclass(frozen=True, kw_only=True)
class Plant:
    """One edit of one plugin."""

    subject: str
    """Id of the plugin."""
    kind: str
    name: str
    """``sleep_5``: the folder that its file lies in."""
    share: float | None = None
    """Share of the call that it was sized to; None for a tile, 0 for no change."""
    amount: int = 0
    """Nanoseconds of a busy wait, cycles of a spinning kernel, number of copies, value of the knob."""
    knob: str = ""

    @property
    def plugin(self) -> str:
        """Its id in the planted trees."""
        return f"{PLANTED}.{self.name}.{_function(self.subject)}"


def planted(plants: Sequence[Plant], folder: Path, device: str) -> tuple[Commit, Commit]:
    """The two sides of a change that makes every plant in this tree, below ``folder``."""
    sides = []
    for side in turns.SIDES:
        tree = folder / side
        for part in MEASURED:
            shutil.copytree(
                TREE / part,
                tree / part,
                ignore=shutil.ignore_patterns("__pycache__"),
                dirs_exist_ok=True,
            )
        for each in plants:
            source = sown(each, device) if side == "head" else _source(each)
            place = tree / "impl" / PLANTED / each.name
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{_function(each.subject)}.py").write_text(source)
        sides.append(replace(here(), clean=False, tree=tree))
    return sides[0], sides[1]


def sown(plant: Plant, device: str) -> str:
    """The source of the plugin with the plant in it."""
    source = _source(plant)
    node = _definition(source, plant.subject)
    if plant.kind == "tile":
        return _retiled(source, node, plant)
    first = node.body[1] if ast.get_docstring(node) is not None else node.body[0]
    lines = source.splitlines(keepends=True)
    indent = " " * first.col_offset
    added = [f"{indent}{line}\n" for line in _statements(plant, node.args.args[0].arg, device)]
    return "".join([*lines[: first.lineno - 1], *added, *lines[first.lineno - 1 :]])


def _statements(plant: Plant, tensor: str, device: str) -> Iterator[str]:
    if plant.kind == "sleep" and device == "cpu":
        yield "from time import perf_counter_ns"
        yield f"planted = perf_counter_ns() + {plant.amount}"
        yield "while perf_counter_ns() < planted: pass"
    elif plant.kind == "sleep":
        yield "from torch.cuda import _sleep"
        yield f"_sleep({plant.amount})"
    elif plant.kind == "copy":
        yield f"for _ in range({plant.amount}):"
        yield f"    {tensor}.new_empty({BLOCK}).clone()"


def _retiled(source: str, node: ast.FunctionDef, plant: Plant) -> str:
    """The source with another default of the knob."""
    names = [each.arg for each in node.args.kwonlyargs]
    default = node.args.kw_defaults[names.index(plant.knob)]
    assert default is not None and default.end_col_offset is not None
    lines = source.splitlines(keepends=True)
    line = lines[default.lineno - 1]
    # columns of the syntax tree count bytes
    raw = line.encode()
    new = raw[: default.col_offset] + f"{plant.amount}".encode() + raw[default.end_col_offset :]
    lines[default.lineno - 1] = new.decode()
    return "".join(lines)


def wished(subject: Plugin, shares: Sequence[float], unchanged: int) -> list[Plant]:
    """Every plant of a plugin, unsized: ``unchanged`` copies without any, and each kind."""
    found = [
        Plant(subject=subject.id, kind="same", name=f"same_{number}", share=0.0)
        for number in range(unchanged)
    ]
    for kind in ("sleep", "copy"):
        found += [
            Plant(subject=subject.id, kind=kind, name=f"{kind}_{share * 100:.0f}", share=share)
            for share in shares
        ]
    return found + list(_tiles(subject))


def _tiles(subject: Plugin) -> Iterator[Plant]:
    node = _definition(subject.file.read_text(), subject.id)
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        values = subject.knobs.get(argument.arg, ())
        if not isinstance(default, ast.Constant):
            continue
        for value in values:
            if value != default.value:
                name = f"tile_{argument.arg}_{value}"
                yield Plant(
                    subject=subject.id, kind="tile", name=name, amount=value, knob=argument.arg
                )


def sized(plants: Sequence[Plant], entries: Sequence[Entry]) -> list[Plant]:
    """The plants with their amounts, from the time of their plugins; ``entries`` says where."""
    worker, found = Worker(here(), variables=turns.ALLOCATOR), []
    try:
        for entry in entries:
            mine = [each for each in plants if each.subject == entry.plugin]
            answer = worker.call(amounts, (mine, entry))
            if isinstance(answer, Exception):
                raise ValueError(f"{entry.plugin} cannot be timed: {answer}")
            found += [replace(each, amount=much) for each, much in zip(mine, answer, strict=True)]
        return found
    finally:
        worker.kill()
        worker.end()


def amounts(asked: tuple[Sequence[Plant], Entry]) -> list[int]:
    """What each plant of one plugin must do to take its share of the plugin's call here."""
    plants, entry = asked
    if isinstance(why := turns.ready((entry, None)), str):
        raise ValueError(why)
    call_s = _seconds(turns.sample)
    return [_amount(each, entry, call_s) for each in plants]


def _amount(plant: Plant, entry: Entry, call_s: float) -> int:
    if plant.kind not in ("sleep", "copy"):
        return plant.amount
    assert plant.share is not None
    wanted = plant.share * call_s
    if plant.kind == "copy":
        return _copies(wanted, entry)
    if entry.device == "cpu":
        return max(1, round(wanted * 1e9))
    return _cycles(wanted, entry.device)


def _copies(wanted: float, entry: Entry) -> int:
    """Copies that take ``wanted`` seconds, at least one."""
    import torch

    like = torch.empty(1, dtype=getattr(torch, entry.dtype), device=entry.device)
    watch = clock.stopwatch(entry.device)

    def many() -> None:
        for _ in range(TRIED):
            like.new_empty(BLOCK).clone()

    number = watch.number(many)
    one = _seconds(lambda: watch.seconds(many, number) / number) / TRIED
    return max(1, round(wanted / one))


def _cycles(wanted: float, device: str) -> int:
    import torch

    trial = 1_000_000
    watch = clock.stopwatch(device)
    taken = _seconds(lambda: watch.seconds(lambda: torch.cuda._sleep(trial), 1))
    return max(1, round(trial * wanted / taken))


def _seconds(sample: Callable[[], float | None]) -> float:
    taken = (sample() for _ in range(SIZING * (1 + clock.RETRIES)))
    found = [*itertools.islice((each for each in taken if each is not None), SIZING)]
    if not found:
        raise ValueError(f"{turns.BUSY}, want a machine that is less so")
    return median(found)


def _source(plant: Plant) -> str:
    return lookup(plant.subject).file.read_text()


def _definition(source: str, plugin: str) -> ast.FunctionDef:
    name = _function(plugin)
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    raise ValueError(f"{plugin} is no function, want one to plant something in")


def _function(plugin: str) -> str:
    return plugin.rpartition(".")[2]
