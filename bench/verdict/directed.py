"""Directed regressions: asv takes every rise for a loss, this asks each benchmark which way is worse.

Named in ``asv.conf.json``; rewrites the ``regressions.json`` and ``regressions.xml`` that asv has
just written. A metric that never gates, because another one it is derived from does, is left out.
"""

from typing import Any

from asv.plugins.regressions import Regressions, _GraphDataFilter

from ..engine.metrics import METRICS

Steps = list[tuple[int, int, float, float, float]]
"""First and last revision, level, its best value and its error, as asv's detection takes them."""


class DirectedRegressions(Regressions):
    """asv's own regressions, found with the sign that each benchmark declares."""

    order = 3.5

    @classmethod
    def publish(cls, conf: Any, repo: Any, benchmarks: Any, graphs: Any, revisions: Any) -> None:
        """Write both files anew."""
        hashes = {revision: commit for commit, revision in revisions.items()}
        series, every = _GraphDataFilter(conf, repo, revisions), graphs.get_params()
        found: list[list[Any]] = []
        for path, graph in graphs:
            name = path.rpartition("/")[2]
            if "summary" in graph.params or name not in benchmarks or not gates(name):
                continue
            rising = bool(benchmarks[name].get("higher_is_better"))
            for at, entry, steps, threshold in series.get_graph_data(graph, benchmarks[name]):
                before = len(found)
                seen = falls(steps, threshold) if rising else steps
                data = (at, entry, seen, threshold)
                cls._process_regression(found, hashes, repo, every, data, graph)
                if rising:
                    found[before:] = map(upright, found[before:])
        cls._save(conf, {"regressions": found})
        cls._save_feed(conf, benchmarks, found, revisions, hashes)


def gates(benchmark: str) -> bool:
    """Whether a regression in ``kernels.SmokeSsd.track_time`` counts."""
    metric = METRICS.get(benchmark.rpartition(".track_")[2])
    return metric is None or metric.gates


def falls(steps: Steps, threshold: float) -> Steps:
    """The steps upside down, so that a fall is a rise; the threshold stays relative to the level."""
    # asv multiplies the threshold with the level, which is negative here: the error carries it
    return [
        (first, last, -level, -level, max(error, threshold * abs(level)))
        for first, last, level, _, error in steps
    ]


def upright(regression: list[Any]) -> list[Any]:
    """A row of ``regressions.json`` found upside down, the right way up."""
    *what, latest, best, jumps = regression
    return [*what, -latest, -best, [(a, b, -old, -new) for a, b, old, new in jumps]]
