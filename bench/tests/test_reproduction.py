"""One proposal is measured by itself, and its stored runs repeat to the bit or the difference is named."""

import json
from pathlib import Path

import pytest

from bench.engine import checkout, runner, store, suite
from bench.lab import agenda, kept, reproduction, tryout
from bench.lab.reproduction import needed, reproduce
from bench.record import results_folder
from bench.verdict.claims import Case, Claim
from suites.tasks import find

TASK = find("mqar-T32")
LISTED = ["mixers.cosformer", "mixers.ssd", "mixers.linear_attention"]
TABLE = {"mixers": LISTED, "seeds": 1, "tokens": 2 * TASK.batch * TASK.length}
CONTROLS = {*TASK.must_pass, *TASK.must_fail}


def claim(plugin: str, metric: str = "accuracy", task: str = "mqar") -> Claim:
    return Claim(
        id="learns",
        says="It learns.",
        metric=metric,
        plugin=plugin,
        against=None,
        comparison="value",
        bounds={"at_least": 0.5},
        over=None,
        where={"task": task},
        role="success",
        source="planted",
        reported=(),
    )


def case(*claims: Claim) -> Case:
    needs = tuple(one.plugin for one in claims)
    return Case(proposal="009", title="planted", needs=needs, claims=claims, file=Path("planted"))


COSFORMER = case(claim("mixers.cosformer"))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> agenda.Tryout:
    """The only task of a suite, trained for two steps, at rates that need no sweep."""
    tiny = suite.Suite(name="tiny", contests=(), tasks={TASK.name: TABLE})
    monkeypatch.setattr(suite, "load", lambda _: tiny)
    monkeypatch.setattr(kept, "TREE", tmp_path / "kept")
    monkeypatch.setattr(tryout, "learning_rate", lambda *_: 0.01)
    # what others do to the tree meanwhile is no other commit
    here = checkout.here()
    monkeypatch.setattr(store.checkout, "here", lambda: here)
    monkeypatch.setenv("MADBENCH_DEVICE", "cpu")
    (found,) = agenda.tryouts("tiny")
    return found


def test_what_a_proposal_needs_of_a_task_is_its_contestants_and_the_controls(
    held: agenda.Tryout,
) -> None:
    assert set(needed(COSFORMER, held)) == {"mixers.cosformer", *CONTROLS}
    assert needed(case(claim("mixers.cosformer", task="word_problem")), held) == ()
    assert needed(case(claim("mixers.cosformer", metric="time")), held) == ()
    assert needed(case(claim("mixers.never_listed")), held) == ()


def test_one_proposal_is_trained_and_its_runs_repeat(held: agenda.Tryout, tmp_path: Path) -> None:
    out = tmp_path / "results"
    ran = runner.run_suite("tiny", case=COSFORMER, out=out)
    assert (ran.measured, ran.left) == (1, ())
    assert mixers(out) == {"mixers.cosformer", *CONTROLS}
    assert runner.run_suite("tiny", case=COSFORMER, out=out).there == 1
    again = reproduce(COSFORMER, folders=[out])
    assert again.says() == "1 of 1 runs repeat to the bit"

    (file,) = out.glob("*/*.curves.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        row["losses"][-1][1] += 1e-7
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    differs = reproduce(COSFORMER, folders=[out])
    assert differs.says().startswith(
        "0 of 1 runs repeat to the bit\nmqar-T32 mixers.cosformer seed 0"
    )
    assert "losses at 2048 is" in differs.says()

    (figures,) = [each for each in out.glob("*/*.json") if each.name != "machine.json"]
    figures.write_text(
        figures.read_text().replace('"requirements": {', '"requirements": {"x": "1",')
    )
    elsewhere = reproduce(COSFORMER, folders=[out])
    assert elsewhere.differing == ()
    assert "agree to 3 digits (another stack or machine" in elsewhere.says()


def test_a_second_proposal_joins_the_group_of_the_first(
    held: agenda.Tryout, tmp_path: Path
) -> None:
    for each in ("mixers.cosformer", "mixers.ssd"):
        runner.run_suite("tiny", case=case(claim(each)), out=tmp_path)
    found = [one for one in results_folder.read_all(tmp_path) if one.metric == "accuracy"]
    assert {one.plugin for one in found} == {"mixers.cosformer", "mixers.ssd", *CONTROLS}
    assert len({one.group for one in found}) == 1


def mixers(folder: Path) -> set[str]:
    return {one.plugin for one in results_folder.read_all(folder) if one.metric == "accuracy"}


def test_a_proposal_without_a_stored_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run of proposal 009 is stored, want one to repeat"):
        reproduce(COSFORMER, folders=[tmp_path])


def test_runs_are_spread_over_the_mixers() -> None:
    rows = [
        {"group": ["tiny", TASK.name], "mixer": mixer, "seed": seed}
        for mixer in ("a", "b")
        for seed in range(3)
    ]
    order = [(row["mixer"], row["seed"]) for row in reproduction._spread(rows)]
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
