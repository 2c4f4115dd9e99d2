"""A suite's tasks are trained within the budget, and a training that was cut off goes on."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.engine import runner, suite
from bench.engine.admission import laws
from bench.engine.checkout import TREE
from bench.lab import kept, workers
from bench.lab.kept import Kept
from bench.lab.training import trainer
from bench.lab.training.run import Job, Run
from bench.record import results_folder
from suites.tasks import find

TASK = find("mqar-T32")
TABLE = {"mixers": ["mixers.cosformer"], "seeds": 1, "tokens": 2 * TASK.batch * TASK.length}
MIXERS = {"mixers.cosformer", *TASK.must_pass, *TASK.must_fail}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A suite of one task, trained for two steps."""
    tiny = suite.Suite(name="tiny", contests=(), tasks={TASK.name: TABLE})
    monkeypatch.setattr(suite, "load", lambda _: tiny)
    monkeypatch.setattr(kept, "TREE", tmp_path)
    monkeypatch.setenv("MADBENCH_DEVICE", "cpu")


def trained(**changes: object) -> Run:
    job = dataclasses.replace(JOB, **changes)
    return trainer.train_job(job)


JOB = Job(mixer="mixers.cosformer", task=TASK, seed=0, rate=0.01, tokens=TABLE["tokens"])


def test_a_kept_run_is_the_run_that_would_be_trained() -> None:
    here = Kept.of(TASK.name, "cpu")
    assert here.find(JOB) is None
    run = trained()
    assert run.by_length
    assert run.gradients
    here.add(run, "cpu")
    assert here.find(JOB) == run
    for other in ({"seed": 1}, {"rate": 0.02}, {"tokens": 1}, {"mixer": "mixers.softmax"}):
        assert here.find(dataclasses.replace(JOB, **other)) is None
    here.clear()
    assert here.find(JOB) is None


def test_a_process_that_has_not_trained_finds_what_one_that_has_kept() -> None:
    tells = "from bench.lab.kept import Kept; print(Kept.of('mqar-T32', 'cpu').folder.parent.name)"
    folders = [
        subprocess.check_output([sys.executable, "-c", first + tells], cwd=TREE, text=True)
        for first in ("", "import torch; ")
    ]
    assert folders[0] == folders[1]


def test_a_kept_run_that_cannot_be_read_is_trained_again() -> None:
    here = Kept.of(TASK.name, "cpu")
    here.add(trained(), "cpu")
    (file,) = here.folder.iterdir()
    for text in ("", "[]", "{}", '{"losses": [], "accuracies": []}'):
        file.write_text(text)
        assert here.find(JOB) is None


def test_a_run_of_a_suite_trains_its_tasks_and_goes_on(tmp_path: Path) -> None:
    told: list[str] = []

    def interrupt(_: str, mixer: str, stage: str) -> None:
        told.append(mixer)
        assert stage == f"seed 0, run 1 of {len(MIXERS)}"
        raise KeyboardInterrupt

    first = runner.run_suite("tiny", out=tmp_path, say=interrupt)
    assert (first.measured, first.left, first.interrupted) == (0, (TASK.name,), True)
    assert results_folder.read_all(tmp_path) == []
    second = runner.run_suite("tiny", out=tmp_path, say=lambda _, mixer, __: told.append(mixer))
    assert (second.measured, second.left) == (1, ())
    assert sorted(told) == sorted(MIXERS)
    found = [one for one in results_folder.read_all(tmp_path) if one.metric == "accuracy"]
    assert {one.plugin for one in found} == MIXERS
    assert len({one.group for one in found}) == 1
    third = runner.run_suite("tiny", out=tmp_path)
    assert (third.measured, third.there) == (0, 1)
    assert not Kept.of(TASK.name, "cpu").folder.exists()


def test_a_budget_that_is_spent_leaves_the_task(tmp_path: Path) -> None:
    began = time.monotonic()
    ran = runner.run_suite("tiny", 0.5, out=tmp_path)
    assert time.monotonic() - began < 3
    assert (ran.measured, ran.left, ran.interrupted) == (0, (TASK.name,), False)


def test_a_deadline_ends_the_workers() -> None:
    with pytest.raises(workers.OutOfTime):
        list(workers.each_apart(laws, ["mixers.softmax"], deadline=time.monotonic()))
