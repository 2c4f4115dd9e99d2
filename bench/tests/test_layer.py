"""Mixers meet as layers: admitted by their laws, held to their step form, timed in the same rounds."""

import dataclasses
from pathlib import Path

import pytest
import torch

from bench.engine import contest, figures, runner, store, suite
from bench.engine.admission import Admission
from bench.engine.layer import Layer
from bench.verdict import current
from impl.registry import load

BARE, GATED = "mixers.cosformer", "mixers.gated_cosformer"
HELD = suite.Contest(
    op="cosformer_layer",
    plugins=(BARE, GATED),
    sizes=("B1-T8-D4",),
    modelled_sizes=("B1-T8-D4",),
    dtypes=("float32",),
    baseline=BARE,
    layers=True,
)
ONE = next(runner.problems(HELD, "cpu"))
FEW = dataclasses.replace(ONE, rounds=9, metrics=("time", "train_time", "launches", "error"))


def hold(problem: contest.Problem) -> contest.Results:
    return contest.hold(problem, lambda *_: None)


def layer(plugin: str = BARE) -> Layer:
    return Layer(load(plugin), {"B": 1, "T": 8, "D": 4}, torch.float32)


@pytest.mark.alone
def test_layers_are_timed_in_the_same_rounds() -> None:
    found = {(f.plugin, f.metric): f.samples for f in hold(FEW).figures}
    for metric in ("time", "train_time"):
        assert len(found[BARE, metric]) == len(found[GATED, metric]) > 0
    assert found[GATED, "launches"] > found[BARE, "launches"]
    assert 0 < found[BARE, "error"][0] < 1e-6


@pytest.mark.alone
def test_a_mixer_that_breaks_a_law_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Admission("wrong", 2, "causal: moved")
    monkeypatch.setattr(contest, "laws", lambda each: wrong if each == BARE else Admission("ok", 0))
    results = hold(FEW)
    assert {f.metric: f.samples for f in results.figures if f.plugin == BARE} == {"contract": (2,)}
    assert "time" in {f.metric for f in results.figures if f.plugin == GATED}
    assert ("wrong", "causal: moved") in {(o.outcome, o.reason) for o in results.outcomes}


def test_a_layer_unlike_its_step_form_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Layer.stepped
    monkeypatch.setattr(Layer, "stepped", lambda *given: (1.001 * honest(*given)[0],))
    results = hold(FEW)
    assert {(f.metric, f.samples) for f in results.figures} == {("contract", (1,))}
    assert all("at these sizes" in each.reason for each in results.outcomes)


def test_the_bound_knows_what_the_step_form_errs_by_on_other_weights_and_tokens() -> None:
    one = layer()
    other = dataclasses.replace(one, seed=1)
    assert not torch.equal(one.inputs()["x"], other.inputs()["x"])
    weights = zip(one.module().parameters(), other.module().parameters(), strict=True)
    assert any(not torch.equal(mine, its) for mine, its in weights)
    alone = [dataclasses.replace(one, seed=seed) for seed in range(1, 5)]
    apart = [each.stepped(each.inputs(), torch.float64)[0] for each in alone]
    near = [each.stepped(each.inputs(), torch.float32)[0] for each in alone]
    errors = [
        float((mine - true).norm() / true.norm()) for mine, true in zip(near, apart, strict=True)
    ]
    assert one.own_errors()[0][0] == pytest.approx(max(errors))


def test_a_length_that_a_mixer_refuses_is_unsupported() -> None:
    long = dataclasses.replace(FEW, sizes={"B": 1, "T": 129, "D": 4}, metrics=("error",))
    knobs = ("mixers.cosformer(horizon=1024)", BARE)
    results = hold(dataclasses.replace(long, plugins=knobs))
    assert [(o.plugin, o.outcome) for o in results.outcomes] == [(BARE, "unsupported")]
    assert "horizon=128" in results.outcomes[0].reason
    assert knobs[0] in {f.plugin for f in results.figures if f.metric == "error"}


def test_a_training_step_reaches_every_weight() -> None:
    step = figures.training_step(layer(GATED))
    assert callable(step)
    gradients = step()
    assert isinstance(gradients, tuple)
    assert len(gradients) == 1 + len(list(layer(GATED).module().parameters()))


def test_a_forward_pass_records_nothing_for_a_backward_pass() -> None:
    result = figures.bare(layer())()
    assert isinstance(result, torch.Tensor)
    assert not result.requires_grad


def test_a_layer_must_read_its_weights_and_tokens_and_write_its_output() -> None:
    assert layer().compulsory_bytes() == 4 * (4 * 4 * 4 + 2 * 8 * 4)


@pytest.mark.parametrize(
    ("plugins", "sizes", "wish"),
    [
        ([BARE], "B1-T8-N4", "for a layer, want B..-T..-D.."),
        ([BARE, "attention.cosformer"], "B1-T8-D4", "is a mixer, not timed together with"),
        (["mixers.cosformer(horizon=2)"], "B1-T8-D4", "horizon=2, want"),
    ],
)
def test_what_is_no_layer_is_refused(plugins: list[str], sizes: str, wish: str) -> None:
    with pytest.raises(ValueError, match=wish):
        runner.measure(plugins, sizes, metrics=["error"], device="cpu")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("mixers = []", "no mixers"),
        ("mixers = ['mixers.nothing']", "no plugin is called 'mixers.nothing'"),
        ("mixers = ['scans.sequential']", "scans.sequential is no mixer"),
        ("mixers = ['mixers.softmax']\nsizes = ['B1-T8']", "want B..-T..-D.."),
        ("baseline = 'mixers.softmax'", "unknown baseline"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, complaint: str
) -> None:
    (tmp_path / "suites").mkdir()
    sizes = "" if "sizes" in change else "sizes = ['B1-T8-D4']\n"
    text = f"[layers.x]\n{sizes}dtypes = ['float32']\n{change}\n"
    (tmp_path / "suites" / "bad.toml").write_text(text)
    monkeypatch.setattr(suite, "TREE", tmp_path)
    monkeypatch.setattr(suite, "plugins", dict)
    with pytest.raises(ValueError, match=rf"suites/bad.toml \[layers.x\]: .*{complaint}"):
        suite.load("bad")


def timed(bare: float, gated: float) -> contest.Results:
    results = contest.Results()
    for plugin, time in ((BARE, bare), (GATED, gated)):
        results.exact(plugin, "contract", 0)
        samples = tuple(time + i for i in range(15))
        results.figures.append(
            contest.Figure(plugin=plugin, metric="time", samples=samples, low=0, high=0)
        )
    return results


def test_one_table_of_a_suite_does_not_stand_for_another(tmp_path: Path) -> None:
    place = store.Place(tmp_path)
    place.add("smoke", HELD, ONE, timed(100.0, 100.0))
    assert place.lacking("smoke", ONE) == []
    assert place.lacking("smoke", dataclasses.replace(ONE, op="other_layer")) == [BARE, GATED]


@pytest.mark.parametrize(("gated", "state"), [(100.0, "confirmed"), (130.0, "refuted")])
def test_the_layers_of_a_suite_settle_the_claim_about_them(
    tmp_path: Path, gated: float, state: str
) -> None:
    store.Place(tmp_path).add("smoke", HELD, ONE, timed(100.0, gated))
    judged = current.judgements(tmp_path)["009"]
    (claim,) = [one for one in judged.claims if one.claim.id == "costs-no-latency"]
    assert str(claim.state) == state


def test_an_unsettled_claim_names_the_suite_that_times_layers(tmp_path: Path) -> None:
    judged = current.judgements(tmp_path)["009"]
    (lack,) = [one for one in judged.missing if one["claim"] == "costs-no-latency"]
    assert lack["suite"] == "smoke"
    assert lack["seconds"] > 0
