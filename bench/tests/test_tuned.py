"""Stored settings: chosen by one command, taken by every run, told with every figure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench import cli
from bench.engine import clock, contest, runner, store, suite, tuned, tuning
from bench.engine.metrics import SETTING
from bench.hardware import machine
from bench.record import results_folder, setting
from bench.verdict.history import points
from impl.registry import index

PLUGIN, OTHER = "attention.linear", "chunkwise.linear_attention"
SIZES = "B1-T64-H1-K4-V4"
PLANTED = """
from impl import implements
from impl.scans.sequential import sequential

@implements("linear_recurrence", source="test", knobs={"form": ("plain", "broken", "other")})
def planted(a, b, h0=None, *, form="plain"):
    h = sequential(a, b, h0)
    # no size of the contract is as long: only the answer at the timed problem tells
    return h * (2 if form == "broken" and b.shape[1] == 777 else 1)
"""


def held() -> suite.Contest:
    return suite.Contest(
        op="linear_attention",
        plugins=(PLUGIN, OTHER),
        sizes=(SIZES,),
        modelled_sizes=(SIZES,),
        dtypes=("float32",),
        baseline=PLUGIN,
    )


def problem(**more) -> contest.Problem:
    (one,) = runner.problems(held(), "cpu")
    return replace(one, metrics=("traffic", "contract"), **more)


def choice(**more) -> tuned.Choice:
    given = {
        "plugin": PLUGIN,
        "sizes": SIZES,
        "dtype": "float32",
        "knobs": {"chunk": 16},
        "metric": "train_time",
        "commit": "0" * 40,
        "stack": {"python": "3.11"},
        "tried": (
            tuned.Trial(knobs={}, time=(2.0, 1.5, 2.5), train_time=(4.0, 3.0, 5.0)),
            tuned.Trial(knobs={"chunk": 16}, time=(1.0, 0.5, 1.5), ratio=(0.5, 0.4, 0.6)),
            tuned.Trial(knobs={"chunk": 128}, refused='wrong: "output" errs'),
        ),
    }
    return tuned.Choice(**{**given, **more})


def raced(times: Mapping[str, Sequence[float]], metric: str = "time") -> contest.Results:
    found = contest.Results()
    for plugin, samples in times.items():
        figure = contest.Figure(
            plugin=plugin, metric=metric, samples=tuple(samples), low=0.0, high=9.0
        )
        found.figures.append(figure)
    return found


SETTINGS = {"x": {}, "x(chunk=16)": {"chunk": 16}, "x(chunk=32)": {"chunk": 32}}
LEVEL = [10.0 + 0.1 * (i % 3) for i in range(15)]


def decided(results: contest.Results) -> tuple[dict, str, tuple[tuned.Trial, ...]]:
    found = tuning.decide("x", SETTINGS, results)
    assert not isinstance(found, str), found
    return dict(found[0]), *found[1:]


def test_the_surely_fastest_setting_is_kept() -> None:
    half, less = [each / 2 for each in LEVEL], [each * 0.8 for each in LEVEL]
    kept, metric, tried = decided(raced({"x": LEVEL, "x(chunk=16)": less, "x(chunk=32)": half}))
    assert (kept, metric) == ({"chunk": 32}, "time")
    assert [each.ratio[0] for each in tried[1:]] == [0.8, 0.5]


def test_a_setting_that_is_faster_by_luck_is_not_kept() -> None:
    lucky = [each * (0.9 if i % 3 else 1.1) for i, each in enumerate(LEVEL)]
    assert sorted(lucky)[7] < sorted(LEVEL)[7]
    kept, _, _ = decided(raced({"x": LEVEL, "x(chunk=16)": lucky, "x(chunk=32)": LEVEL}))
    assert kept == {}


def test_a_step_of_training_decides_where_there_is_one() -> None:
    half, double = [each / 2 for each in LEVEL], [each * 2 for each in LEVEL]
    both = raced({"x": LEVEL, "x(chunk=16)": half, "x(chunk=32)": double})
    both.figures += raced(
        {"x": LEVEL, "x(chunk=16)": double, "x(chunk=32)": half}, "train_time"
    ).figures
    kept, metric, _ = decided(both)
    assert (kept, metric) == ({"chunk": 32}, "train_time")


def test_a_setting_without_figures_is_refused_with_its_reason() -> None:
    found = raced({"x": LEVEL, "x(chunk=16)": LEVEL})
    found.missing("x(chunk=32)", "wrong", "at these sizes: output 0 errs 0.5")
    kept, _, tried = decided(found)
    assert kept == {}
    assert tried[2].refused == "wrong: at these sizes: output 0 errs 0.5"


@pytest.mark.parametrize("rounds", [0, 3, 8])
def test_a_busy_machine_chooses_nothing(rounds: int) -> None:
    half = [each / 2 for each in LEVEL]
    times = {"x": LEVEL[:rounds], "x(chunk=16)": half[:rounds], "x(chunk=32)": half[:rounds]}
    found = raced(times if rounds else {})
    if not rounds:
        found.missing("x", "not run", "the machine was busy in every round", "time", again=True)
    said = tuning.decide("x", SETTINGS, found)
    assert said == f"{rounds} rounds were undisturbed, want at least 9" or "busy" in said


def test_a_busy_machine_does_not_let_the_forward_pass_decide_for_training() -> None:
    found = raced({"x": LEVEL, "x(chunk=16)": [each / 2 for each in LEVEL]})
    found.missing("x", "not run", "the machine was busy in every round", "train_time", again=True)
    assert "busy" in tuning.decide("x", SETTINGS, found)


def test_a_wrong_setting_is_refused_however_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "planted.py"
    file.write_text(PLANTED)
    plugin = f"{file}:planted"

    def rounds(calls, **given):
        return {name: timing(1.0 if "broken" in name else 2.0) for name in calls}

    monkeypatch.setattr(clock, "rounds", rounds)
    monkeypatch.setattr(
        tuning, "hold_apart", lambda one, say, deadline: contest.hold(one, say or (lambda *_: None))
    )
    one = contest.Problem(
        op="linear_recurrence",
        plugins=(plugin,),
        sizes={"B": 1, "T": 777, "D": 2},
        dtype="float32",
        device="cpu",
        metrics=("time",),
    )
    found = tuning.race(plugin, one, "0" * 40)
    assert isinstance(found, tuned.Choice), found
    assert dict(found.knobs) == {}
    by_form = {each.knobs.get("form", "plain"): each for each in found.tried}
    assert "wrong: at these sizes" in by_form["broken"].refused
    assert by_form["other"].time and not by_form["other"].refused


def timing(seconds: float) -> clock.Timing:
    samples = tuple(seconds + 1e-3 * (i % 3) for i in range(15))
    return clock.Timing(
        samples=samples, dropped=0, why="", number=1, low=seconds, high=seconds + 1, watch=""
    )


def test_what_is_kept_is_read_and_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "here.toml"
    first, second = choice(), choice(plugin=OTHER, knobs={})
    for each in (first, second, first):
        tuned.keep(file, each)
    assert sorted(tuned.known(file)) == [first.problem, second.problem]
    read = tuned.known(file)[first.problem]
    assert dict(read.knobs) == {"chunk": 16}
    assert read.tried[2].refused == 'wrong: "output" errs'
    assert [*read.tried[0].time] == [2.0, 1.5, 2.5]


@pytest.mark.parametrize(
    ("planted", "wish"),
    [
        ('[[tuned]]\nplugin = "x"', "tried"),
        ("[[tuned", "here.toml"),
        ("twice", "stands there twice"),
        ("chunk = 16 }", "was not timed"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, planted: str, wish: str) -> None:
    file = tmp_path / "here.toml"
    tuned.keep(file, choice())
    text = file.read_text()
    if planted == "twice":
        text += text
    elif planted in text:
        text = text.replace(planted, "chunk = 99 }", 1)
    else:
        text = planted
    file.write_text(text)
    with pytest.raises(ValueError, match=wish) as caught:
        tuned.known(file)
    assert "suites/tuned/here.toml" in str(caught.value)


def test_a_run_takes_what_is_stored_for_this_machine_and_problem_alone(tmp_path: Path) -> None:
    tuned.keep(tmp_path / f"{machine.record('cpu').name}.toml", choice())
    tuned.keep(tmp_path / "another-machine.toml", choice(plugin=OTHER))
    assert tuned.settled(problem(), tmp_path).knobs == {PLUGIN: {"chunk": 16}}
    longer = problem(sizes={"B": 1, "T": 128, "H": 1, "K": 4, "V": 4})
    assert tuned.settled(longer, tmp_path).knobs == {}
    assert tuned.settled(problem(dtype="bfloat16"), tmp_path).knobs == {}


def test_the_setting_is_told_with_the_figures_and_changes_them(tmp_path: Path) -> None:
    def measured(knobs: dict) -> dict[str, tuple[float, str]]:
        folder = tmp_path / str(knobs.get("chunk"))
        one = problem(knobs={PLUGIN: knobs} if knobs else {})
        results = contest.hold(one, lambda *_: None)
        store.Place(folder).add("smoke", held(), one, results)
        read = results_folder.read_all(folder)
        assert SETTING not in {each.metric for each in read}
        assert {each.knobs for each in read if each.plugin == OTHER} == {""}
        assert {each.knobs for each in store.measurements(one, results)} == {
            each.knobs for each in read
        }
        return {each.metric: (each.value, each.knobs) for each in read if each.plugin == PLUGIN}

    as_it_stands, turned = measured({}), measured({"chunk": 16})
    assert as_it_stands["traffic"][1] == "" and turned["traffic"][1] == "chunk=16"
    assert as_it_stands["traffic"][0] != turned["traffic"][0]


def test_a_setting_that_the_code_does_not_offer_is_told_and_not_used() -> None:
    found = contest.hold(problem(knobs={PLUGIN: {"chunk": 17}}), lambda *_: None)
    (told,) = (each for each in found.outcomes if each.metric == SETTING)
    assert told.plugin == PLUGIN and "chunk=17 is not offered here" in told.reason
    assert SETTING not in {each.metric for each in found.figures}
    assert {each.plugin for each in found.figures if each.metric == "traffic"} == {PLUGIN, OTHER}


def test_a_plugin_with_knobs_in_its_id_keeps_them() -> None:
    one = problem(plugins=(f"{PLUGIN}(chunk=16)", PLUGIN), knobs={PLUGIN: {"chunk": 128}})
    assert contest.case_of(one, f"{PLUGIN}(chunk=16)").knobs == {"chunk": 16}
    assert contest.case_of(one, PLUGIN).knobs == {"chunk": 128}


def test_another_setting_is_another_series() -> None:
    results = contest.hold(problem(), lambda *_: None)
    found = [each for each in store.measurements(problem(), results) if each.plugin == PLUGIN]
    turned = [replace(each, knobs="chunk=16", commit="1" * 40) for each in found]
    same = [replace(each, commit="1" * 40) for each in found]
    assert len(points.series([*found, *turned])) == 2 * len(points.series([*found, *same]))


def test_a_code_is_exact_and_a_setting_that_is_gone_keeps_its_digits() -> None:
    code = setting.code({"chunk": 16})
    assert code == int(code) < 2**53
    assert setting.told(PLUGIN, code) == "chunk=16"
    gone = setting.told(PLUGIN, setting.code({"chunk": 17}))
    assert gone.startswith("#") and gone != setting.told(PLUGIN, setting.code({"chunk": 18}))
    assert setting.told(PLUGIN, None) == ""


def test_what_is_committed_is_offered_by_the_code() -> None:
    for file in tuned.FOLDER.glob("*.toml"):
        for each in tuned.known(file).values():
            offered = list(setting.every(index()[each.plugin].knobs))
            assert not each.knobs or dict(each.knobs) in offered, each.problem


def test_only_what_is_timed_here_and_has_knobs_is_tuned() -> None:
    found = {plugin for plugin, _ in tuning.races("smoke", "cpu", ops=["linear_attention"])}
    assert PLUGIN in found
    assert all(index()[each].knobs for each in found)
    assert not any("triton" in index()[each].needs for each in found)


@pytest.mark.parametrize("words", [["--op", "nothing"], ["--plugin", "nothing"]])
def test_what_a_suite_does_not_have_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["tune", "--suite", "smoke", *words, "--out", str(tmp_path)]) == 2
    assert "has no 'nothing'" in capsys.readouterr().err


def test_code_without_a_commit_is_not_tuned_into_the_repository(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuning.checkout, "git", lambda *words: " M impl/attention/linear.py")
    assert cli.main(["tune", "--suite", "smoke", "--plugin", PLUGIN]) == 2
    assert "want a commit to name" in capsys.readouterr().err
