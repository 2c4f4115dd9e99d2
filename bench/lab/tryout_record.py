"""Record of a tryout: its figures as measurements, where they lie, and the learning curves beside them."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..engine import checkout, store
from ..engine.checkout import Commit
from ..engine.contest import Results
from ..engine.metrics import METRICS
from ..engine.ruler import from_tree
from ..hardware import machine
from ..record import result_file
from ..record.benchmark_name import TASKS, class_name
from ..record.measurement import Measurement
from .agenda import DTYPE, Tryout
from .seeds import judged
from .training.run import Run


def measurements(
    held: Tryout, results: Results, device: str = "cpu", at: Commit | None = None
) -> Iterator[Measurement]:
    """What a tryout left, as measurements of this machine at a commit, by default the tree's own."""
    here, at = machine.record(device), at or checkout.here()
    broken = {f.plugin: f.samples[0] for f in results.figures if f.metric == "contract"}
    for figure in results.figures:
        metric = METRICS[figure.metric]
        yield Measurement(
            plugin=figure.plugin,
            metric=metric.name,
            unit=metric.unit,
            sizes=held.task.name,
            dtype=DTYPE,
            machine=here.name,
            kind=here.kind,
            samples=figure.samples,
            low=figure.low,
            high=figure.high,
            modelled=metric.modelled,
            contract="wrong" if broken[figure.plugin] else "ok",
            commit=at.hash,
            group=f"{at.hash}:{held.task.name}:{store.round_name(results)}",
            stack=here.stack,
        )


def is_kept(suite_name: str, held: Tryout, device: str, place: store.Place) -> bool:
    """Whether figures of the tryout are stored for this commit, of every mixer if it is a part."""
    if held.listed:
        return set(held.mixers) <= stored(suite_name, held, device, place)
    return place.has(device, _stored_as(suite_name, held))


def stored(suite_name: str, held: Tryout, device: str, place: store.Place) -> set[str]:
    """Mixers of which figures of the tryout are stored for this commit."""
    file = place.file(device)
    about = f"{place.at.hash}:{class_name(suite_name, held.subject)}:"
    found = result_file.read(file) if file.is_file() else []
    return {each.plugin for each in found if each.group.startswith(about)}


def part_of(
    suite_name: str, held: Tryout, mixers: Sequence[str], device: str, place: store.Place
) -> Tryout:
    """The tryout for some of its mixers, and those already stored: all meet in one group again."""
    there = stored(suite_name, held, device, place)
    some = tuple(mixer for mixer in held.mixers if mixer in there or mixer in mixers)
    return dataclasses.replace(held, mixers=some, listed=held.mixers)


def keep(
    suite_name: str,
    held: Tryout,
    results: Results,
    runs: Mapping[str, Sequence[Run]],
    device: str,
    place: store.Place,
) -> None:
    """Store the figures where asv's own lie, and the learning curves beside them."""
    found: dict[str, dict[tuple[str, ...], tuple[float, ...]]] = {name: {} for name in held.tracked}
    for figure in results.figures:
        found[figure.metric][figure.plugin, held.task.name, DTYPE] = figure.samples
    place.write(
        device,
        _stored_as(suite_name, held),
        (held.version, tuple(held.axes.values())),
        found,
        set(itertools.product(held.mixers, (held.task.name,), (DTYPE,))),
        store.round_name(results),
    )
    curves = [curve(run) for each in runs.values() for run in each]
    place.keep_curves(device, [suite_name, held.task.name], curves)


def curve(run: Run) -> dict[str, Any]:
    """What is stored of a run beside its figures; tokens that it took are a figure already."""
    names = ("mixer", "seed", "rate", "tokens", "outcome", "reason", "accuracy", "by_length")
    names += ("losses", "accuracies", "gradients", "parameters", "state_size", "flops", "cohort")
    return {name: getattr(run, name) for name in names}


def _stored_as(suite_name: str, held: Tryout) -> str:
    return f"{TASKS}.{class_name(suite_name, held.subject)}"


def controls_of(found: Iterable[Measurement]) -> dict[str, dict[str, str]]:
    """``controls`` of every task that measurements speak of, each at its newest commit."""
    tasks = from_tree("suites.tasks").settings()
    groups: dict[str, dict[tuple[str, str, str], dict[str, Sequence[float]]]] = {}
    for each in found:
        if each.sizes in tasks and each.metric == tasks[each.sizes].metric:
            when = (each.committed, each.date, each.group)
            groups.setdefault(each.sizes, {}).setdefault(when, {})[each.plugin] = each.samples
    return {name: judged(tasks[name], held[max(held)]) for name, held in groups.items()}
