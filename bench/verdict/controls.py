"""Whether a task's controls behaved, read off their measured accuracies.

A model known to solve a task must solve it and one known to fail must fail it, or the scores of all
others on that task are evidence of nothing.
"""

from collections.abc import Iterable

from suites import tasks

from ..engine.record import Measurement
from ..engine.seeds import QUORUM
from ..engine.training import FAILED, SOLVED
from .judge import Controls


def from_measurements(measurements: Iterable[Measurement]) -> Controls:
    """Task to control to ``ok`` or what it did wrong, on the worst machine at its newest commit."""
    known = [one for one in measurements if one.metric == "accuracy"]
    measured = {one.sizes for one in known} & set(tasks.settings())
    return {name: _of_task(tasks.find(name), known) for name in sorted(measured)}


def _of_task(task: tasks.Task, known: Iterable[Measurement]) -> dict[str, str]:
    here = [one for one in known if one.sizes == task.name]
    outcomes = {}
    for mixer in (*task.must_pass, *task.must_fail):
        # elsewhere the task may have been measured without this control
        each = [
            _outcome(task, mixer, [one for one in here if one.machine == machine])
            for machine in sorted({one.machine for one in here})
        ]
        outcomes[mixer] = next((outcome for outcome in each if outcome != "ok"), "ok")
    return outcomes


def _outcome(task: tasks.Task, mixer: str, here: Iterable[Measurement]) -> str:
    runs = [one for one in here if one.plugin == mixer]
    if not runs:
        return "not run"
    newest = max(runs, key=lambda one: (one.committed, one.commit))
    scores = [task.normalised(sample) for sample in newest.samples]
    if mixer in task.must_pass:
        solved = sum(score >= SOLVED for score in scores)
        fine = solved >= QUORUM * len(scores)
        return "ok" if fine else f"must pass, solved {solved} of {len(scores)} seeds"
    above = sum(score > FAILED for score in scores)
    return f"must fail, above the floor on {above} of {len(scores)} seeds" if above else "ok"
