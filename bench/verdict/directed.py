"""Directed regressions: asv takes every rise for a loss, the history knows which way is worse.

Named in ``asv.conf.json``; writes anew what asv has just written, in the same form, from the changes of
``history``: ``regressions.json`` and ``regressions.xml``, where a regression that was made good stays
with its latest level as good as its best, and the recent changes of the list page. A fall of tokens a
second is a row like the rise of microseconds a token that it is, a rise of it is none. asv's list
colours every rise as a loss, so that it shows no change of what is better when higher.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from asv import util
from asv.graph import Graph
from asv.plugins.regressions import Regressions

from ..record import benchmark_name
from ..record.measurement import Measurement
from . import current, vetted
from .history import changes, points
from .history.ancestry import ancestry

Row = list[Any]


class DirectedRegressions(Regressions):
    """asv's own page and feed of regressions, filled with directed ones."""

    order = 3.5

    @classmethod
    def publish(cls, conf: Any, repo: Any, benchmarks: Any, graphs: Any, revisions: Any) -> None:
        """Write the files anew."""
        with vetted.told_once():
            known = current.measurements(Path(conf.results_dir), ancestry(Path(conf.repo)))
        site = Published(known, benchmarks, revisions)
        found: list[Row] = []
        for _, graph in graphs:
            if "summary" not in graph.params:
                found += [_single(row, repo, revisions) for row in site.regressions(graph, graphs)]
        found.sort(key=lambda row: (row[0], row[1], row[3]))
        cls._save(conf, {"regressions": found})
        hashes = {revision: commit for commit, revision in revisions.items()}
        cls._save_feed(conf, benchmarks, found, revisions, hashes)
        site.rewrite_lists(Path(conf.html_dir), graphs)


class Published:
    """The changes, by what asv calls the series that they are of."""

    def __init__(
        self,
        known: Sequence[Measurement],
        benchmarks: Mapping[str, Mapping[str, Any]],
        revisions: Mapping[str, int],
    ) -> None:
        self._benchmarks, self._revisions = benchmarks, revisions
        self._stack = sorted({name for one in known for name in one.stack})
        self._changes: dict[tuple[str, ...], list[changes.Change]] = {}
        for one in points.series(known):
            at = (one.plugin, one.metric, one.sizes, one.dtype)
            at += (one.machine, one.kind, one.suite, one.software)
            self._changes.setdefault(at, []).extend(changes.of(one))

    def regressions(self, graph: Any, graphs: Any) -> Iterator[Row]:
        """A row of ``regressions.json`` for each parameter at which the graph has lost something."""
        every = graphs.get_params()
        chosen = {name: value for name, value in graph.params.items() if len(every[name]) > 1}
        name = graph.path.rpartition("/")[2]
        for i, values in enumerate(self._parameters(name)):
            found = self._of(name, values, graph.params)
            jumps = [
                (self._revisions[one.last], self._revisions[one.commit], one.before, one.after)
                for one in found
                if one.worse and {one.last, one.commit} <= self._revisions.keys()
            ]
            if jumps:
                levels = [found[0].before, *(one.after for one in found)]
                best = max if found[0].series.definition.higher_is_better else min
                entry = f"{name}({', '.join(values)})"
                path = f"{graph.path}.json"
                yield [entry, path, chosen, i, levels[-1], best(levels), jumps]

    def rewrite_lists(self, html: Path, graphs: Any) -> None:
        """The recent change of each row of asv's list page is the last of ours."""
        folders = {
            Graph.get_file_path(graph.params, "summary"): graph.params
            for _, graph in graphs
            if "summary" not in graph.params
        }
        for path, params in folders.items():
            file = html / f"{path}.json"
            rows = util.load_json(str(file))
            changed = [{**row, **self._recent(row, params)} for row in rows]
            util.write_json(str(file), changed, compact=True)

    def _recent(self, row: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        values = list(self._parameters(row["name"]))[row["idx"] or 0]
        found = self._of(row["name"], values, params)
        last = found[-1] if found else None
        if last is None or last.series.definition.higher_is_better or not self._shows(last):
            return {"prev_value": None, "change_rev": None}
        at = [self._revisions[last.last], self._revisions[last.commit]]
        return {"prev_value": last.before, "last_value": last.after, "change_rev": at}

    def _shows(self, one: changes.Change) -> bool:
        return {one.last, one.commit} <= self._revisions.keys()

    def _parameters(self, benchmark: str) -> Iterator[tuple[str, ...]]:
        return itertools.product(*(self._benchmarks.get(benchmark) or {}).get("params", []))

    def _of(
        self, benchmark: str, values: Sequence[str], params: Mapping[str, Any]
    ) -> list[changes.Change]:
        """The changes of one parameter of one of asv's graphs, oldest first."""
        _, subject, track = benchmark.split(".")
        named = [value.strip("'\"") for value in values]
        plugin, sizes, dtype = (*named, "", "", "")[:3]
        kind = f"sm_{named[3]}" if len(named) > 3 else params.get("kind") or "cpu"
        at = (plugin, track.removeprefix("track_"), sizes, dtype)
        stack = {name: params.get(name) for name in self._stack if params.get(name)}
        software = ", ".join(f"{name} {version}" for name, version in stack.items())
        at += (params["machine"], kind, benchmark_name.suite_of(subject), software)
        return self._changes.get(at, [])


def _single(row: Row, repo: Any, revisions: Mapping[str, int]) -> Row:
    """The row with no first revision where a jump is the work of one commit, as asv has it."""
    hashes = {revision: commit for commit, revision in revisions.items()}
    *what, jumps = row
    found = []
    for old, new, before, after in jumps:
        between = repo.get_hashes_from_range(repo.get_range_spec(hashes[old], hashes[new]))
        found.append((None if len(between) == 1 else old, new, before, after))
    return [*what, found]
