"""A tryout keeps seeds paired, names what is missing and why, and always brings its controls."""

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from bench.engine import suite
from bench.engine.admission import Admission, laws
from bench.lab import agenda, tryout
from bench.lab.agenda import TRACKED
from bench.lab.scoreboard import show
from bench.lab.training.run import Job, Run
from bench.lab.tryout import hold
from bench.lab.tryout_record import controls_of, measurements
from bench.lab.tuning import learning_rate
from bench.tests.test_seeds import run
from suites.tasks import find

SEEDS = 8
TASK = find("mqar-T32")
HELD = agenda.Tryout(
    task=TASK,
    mixers=("mixers.cosformer", *TASK.must_pass, *TASK.must_fail),
    seeds=tuple(range(SEEDS)),
    tokens=TASK.tokens,
)

Train = Callable[[Job], Run | Exception]


def learns(job: Job) -> Run:
    """What every mixer is expected to do; the seed shows in the score."""
    score = 0.25 if job.mixer in TASK.must_fail else 0.99 - job.seed / 1000
    done = dataclasses.replace(run(score, seed=job.seed, mixer=job.mixer), rate=job.rate)
    return dataclasses.replace(done, tokens_to_threshold=None if score < 0.9 else 1000 + job.seed)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Callable[[Train], None]:
    """Replace training by a function of the job, and the laws by their approval."""

    def by(train: Train) -> None:
        def run_jobs(jobs: Sequence[Job], **_: object) -> list[Run | Exception]:
            return [train(job) for job in jobs]

        monkeypatch.setattr(tryout, "run_jobs", run_jobs)

    approval = [(number, Admission("ok", 0)) for number in range(len(HELD.mixers))]
    monkeypatch.setattr(tryout, "each_apart", lambda *_, **__: iter(approval))
    monkeypatch.setattr(tryout, "learning_rate", lambda *_: 1e-2)
    by(learns)
    return by


def test_sample_i_is_seed_i_and_the_group_pairs(trained: Callable[[Train], None]) -> None:
    results, _ = hold(HELD)
    found = [each for each in measurements(HELD, results) if each.metric == "accuracy"]
    assert [each.plugin for each in found] == list(HELD.mixers)
    assert len({each.group for each in found}) == 1
    assert {each.sizes for each in found} == {TASK.name}
    assert found[0].samples == tuple(0.99 - seed / 1000 for seed in range(SEEDS))
    assert (found[0].low, found[0].high) == (min(found[0].samples), max(found[0].samples))
    assert found[0].contract == "ok"
    assert not found[0].modelled


def test_a_seed_that_failed_takes_its_mixer_out(trained: Callable[[Train], None]) -> None:
    broken = "mixers.cosformer"
    trained(lambda job: OSError("lost") if (job.mixer, job.seed) == (broken, 3) else learns(job))
    results, _ = hold(HELD)
    assert broken not in {f.plugin for f in results.figures if f.metric == "accuracy"}
    reasons = [(each.plugin, each.outcome, each.reason) for each in results.outcomes]
    assert (broken, "wrong", "seed 3: lost") in reasons


def test_a_threshold_never_reached_leaves_a_reason(trained: Callable[[Train], None]) -> None:
    results, _ = hold(HELD)
    there = {f.plugin for f in results.figures if f.metric == "tokens_to_threshold"}
    assert there == set(HELD.mixers) - set(TASK.must_fail)
    reason = {each.metric: each.reason for each in results.outcomes}
    assert reason == {"tokens_to_threshold": "8 of 8 seeds never reached the threshold"}


def test_a_diverged_seed_keeps_its_score_and_loses_the_loss(
    trained: Callable[[Train], None],
) -> None:
    trained(lambda job: dataclasses.replace(learns(job), outcome="diverged"))
    results, _ = hold(HELD)
    assert {f.metric for f in results.figures} == set(TRACKED) - {"loss"}


def test_a_mixer_that_breaks_a_law_is_not_trained(
    trained: Callable[[Train], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [Admission("wrong", 1, "causal: moved"), OSError("died")]
    answers += [Admission("not run", 0, "not part of this commit")] * 2
    monkeypatch.setattr(tryout, "each_apart", lambda *_, **__: iter(enumerate(answers)))
    results, runs = hold(HELD)
    assert runs == {}
    assert {(f.plugin, f.metric, f.samples) for f in results.figures} == {
        (HELD.mixers[0], "contract", (1,)),
        (HELD.mixers[1], "contract", (1,)),
    }
    outcomes = {each.plugin: (each.outcome, each.reason) for each in results.outcomes}
    assert outcomes[HELD.mixers[0]] == ("wrong", "causal: moved")
    assert outcomes[HELD.mixers[1]] == ("wrong", "its laws: died")
    assert outcomes[HELD.mixers[2]] == ("not run", "not part of this commit")


def test_controls_are_read_off_the_measurements(trained: Callable[[Train], None]) -> None:
    good, _ = hold(HELD)
    before = [dataclasses.replace(m, committed="1") for m in measurements(HELD, good)]
    assert set(controls_of(before)[TASK.name].values()) == {"ok"}
    trained(lambda job: run(0.25, seed=job.seed, mixer=job.mixer))
    bad, _ = hold(HELD)
    after = [dataclasses.replace(m, committed="2") for m in measurements(HELD, bad)]
    said = controls_of([*after, *before])[TASK.name]
    assert said["mixers.softmax"] == "must pass, solved 0 of 8 seeds"
    assert said["mixers.oscillator"] == "ok"


def test_the_table_says_what_a_reader_must_know(trained: Callable[[Train], None]) -> None:
    results, runs = hold(HELD)
    text = show(HELD, results, runs)
    for telling in (
        "8/8",
        "0.983 - 0.990",
        "bootstrap 99%",
        "control mixers.oscillator: ok",
        "never reached",
    ):
        assert telling in text


def test_a_run_that_failed_is_told_with_its_reason(trained: Callable[[Train], None]) -> None:
    trained(lambda job: dataclasses.replace(learns(job), outcome="flat", reason="vanishing"))
    assert "mixers.softmax seed 3: flat, vanishing" in show(HELD, *hold(HELD))


def test_the_laws_admit_a_mixer_with_knobs_and_know_what_is_not_here() -> None:
    assert laws("mixers.deltanet(beta=2)") == Admission("ok", 0)
    assert laws("mixers.never_written").outcome == "not run"


def test_every_suite_has_controls_for_its_tasks_and_those_that_were_run_have_rates() -> None:
    for name in suite.names():
        for held in agenda.tryouts(name):
            if name in ("smoke", "tasks", "transitions"):
                assert all(learning_rate(mixer, held.task) for mixer in held.mixers)
            assert {*held.task.must_pass, *held.task.must_fail} <= set(held.mixers)
            assert held.task.must_pass
            # on text no mixer stays at the floor: its convolution is a memory of some bytes
            assert held.task.must_fail or held.task.metric == "perplexity"


def test_a_mixer_without_a_rate_is_not_run_and_says_how_to_find_one(
    trained: Callable[[Train], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tryout, "learning_rate", lambda mixer, task: learning_rate("none", task))
    results, runs = hold(HELD)
    assert not runs
    assert {each.outcome for each in results.outcomes} == {"not run"}
    assert all("to find one: python -m" in each.reason for each in results.outcomes)


def test_some_mixers_are_given_more_seeds(
    trained: Callable[[Train], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"mixers": list(HELD.mixers), "seeds": 2, "more": {HELD.mixers[0]: 3}}
    some = suite.Suite(name="some", contests=(), tasks={TASK.name: table})
    monkeypatch.setattr(suite, "load", lambda _: some)
    (held,) = agenda.tryouts("some")
    _, runs = hold(held)
    assert {mixer: len(each) for mixer, each in runs.items()} == {
        mixer: 3 if mixer == HELD.mixers[0] else 2 for mixer in HELD.mixers
    }


@pytest.mark.parametrize(
    ("more", "wish"),
    [
        ({HELD.mixers[0]: "many"}, "'many', want more than 2"),
        ({HELD.mixers[0]: 2}, "want more than 2"),
        ({"mixers.ssd": 3}, "mixers.ssd, want some of its mixers"),
    ],
)
def test_more_seeds_that_are_none_are_refused(
    monkeypatch: pytest.MonkeyPatch, more: dict, wish: str
) -> None:
    table = {"mixers": list(HELD.mixers), "seeds": 2, "more": more}
    bad = suite.Suite(name="bad", contests=(), tasks={TASK.name: table})
    monkeypatch.setattr(suite, "load", lambda _: bad)
    with pytest.raises(ValueError, match=wish):
        list(agenda.tryouts("bad"))


@pytest.mark.parametrize(
    ("table", "wish"),
    [
        ({"mixers": []}, r"\[tasks.mqar-T32\]: no seeds"),
        ({"mixers": [], "seeds": 0}, "seeds = 0, want at least 1"),
        ({"mixers": [], "seeds": 1, "sedes": 1}, "unknown sedes"),
        ({"mixers": ["mixers.nothing"], "seeds": 1}, "no plugin is called 'mixers.nothing'"),
        ({"mixers": ["scans.sequential"], "seeds": 1}, "scans.sequential is no mixer"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(
    monkeypatch: pytest.MonkeyPatch, table: dict, wish: str
) -> None:
    bad = suite.Suite(name="bad", contests=(), tasks={"mqar-T32": table})
    monkeypatch.setattr(suite, "load", lambda _: bad)
    with pytest.raises(ValueError, match=wish):
        list(agenda.tryouts("bad"))


def test_the_version_follows_the_task_and_not_the_mixers() -> None:
    more = dataclasses.replace(HELD, mixers=HELD.mixers[:1])
    other = dataclasses.replace(HELD, task=dataclasses.replace(TASK, width=16))
    assert more.version == HELD.version != other.version
    assert dataclasses.replace(HELD, tokens=1).version != HELD.version
    shorter_first = dataclasses.replace(HELD, task=dataclasses.replace(TASK, curriculum=(16,)))
    told_more = dataclasses.replace(HELD, task=dataclasses.replace(TASK, lengths=(16,)))
    assert shorter_first.version != HELD.version == told_more.version


def test_a_machine_with_another_text_does_not_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from suites.tasks.language_modelling import DIGESTS, text

    monkeypatch.setitem(DIGESTS, "graphlib", "0" * 64)  # pyright: ignore[reportArgumentType]
    text.cache_clear()
    results, runs = hold(agenda.tryout(find("language_modelling-T64"), ["mixers.softmax"], 1))
    text.cache_clear()
    assert runs == {}
    assert not results.figures
    assert {each.outcome for each in results.outcomes} == {"not run"}
    assert all("graphlib" in each.reason for each in results.outcomes)
