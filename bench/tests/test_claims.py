"""Claims files: what is known is read, what is not is refused in one line that says what is wished."""

from pathlib import Path

import pytest

from bench.engine import suite
from bench.lab.training.run import FAILED, SOLVED
from bench.verdict import claims, missing
from suites import catalogue, tasks

GOOD = """
proposal = "026"
title    = "Cyclic reduction"
needs    = ["scans.fast", "scans.slow"]

[[claim]]
id       = "half"
says     = "At T = 1024 it takes at most half the time."
metric   = "time"
against  = "scans.slow"
ratio    = { at_most = 0.5 }
where    = { machine = ["cpu", "h200"], dtype = "float32", T = 1024, N = { at_least = 16 } }
role     = "success"
source   = "catalogue 026"
reported = { value = 3.88, unit = "x", setting = "CPU" }
"""


def write(folder: Path, text: str, name: str = "scan/026-cyclic-reduction-ssm-scan.toml") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_reads_a_good_file(tmp_path: Path) -> None:
    case = claims.load(write(tmp_path, GOOD))
    (claim,) = case.claims
    assert (case.proposal, claim.plugin, claim.against) == ("026", "scans.fast", "scans.slow")
    assert (claim.comparison, claim.bounds) == ("ratio", {"at_most": 0.5})
    assert claim.reported[0]["value"] == 3.88


def test_scope_is_a_conjunction(tmp_path: Path) -> None:
    (claim,) = claims.load(write(tmp_path, GOOD)).claims

    def covers(machine: str = "cpu", dtype: str = "float32", sizes: str = "B2-T1024-N32") -> bool:
        return claim.covers(machine=(machine, "some-name"), dtype=dtype, sizes=sizes)

    assert covers()
    assert covers(machine="h200")
    assert not covers(machine="t4")
    assert not covers(dtype="float64")
    assert not covers(sizes="B2-T512-N32")
    assert not covers(sizes="B2-T1024-N8")
    assert not covers(sizes="B2-T1024")


def claim_on(tmp_path: Path, task: str) -> claims.Claim:
    """One about a task, in place of a problem."""
    text = GOOD.replace(
        'machine = ["cpu", "h200"], dtype = "float32", T = 1024, N = { at_least = 16 }',
        f'task = "{task}"',
    ).replace("At T = 1024 it", "It")
    (claim,) = claims.load(write(tmp_path, text)).claims
    return claim


def test_task_is_met_by_its_settings_only(tmp_path: Path) -> None:
    claim = claim_on(tmp_path, "mqar")
    task = {"machine": ("cpu",), "dtype": "float32"}
    assert claim.covers(sizes="mqar-T64", **task)
    assert claim.covers(sizes="mqar", **task)
    assert not claim.covers(sizes="mqar_long-T64", **task)


@pytest.mark.parametrize("wanted", ["selective_copying-T24", "selective_copying"])
def test_another_optimizer_is_met_by_its_own_name_only(tmp_path: Path, wanted: str) -> None:
    claim = claim_on(tmp_path, wanted)
    assert claim_covers(claim, "selective_copying-T24")
    assert not claim_covers(claim, "selective_copying-T24-sgd")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("role ", "rule ", "unknown key 'rule'; near names: role"),
        ('metric   = "time"', 'metric   = "tine"', "unknown metric 'tine'; near names: time"),
        ('"026"', '"999"', "proposal '999' is not in the catalogue"),
        ('"026"', '"025"', "proposal 025 belongs in scan/025-nystrom"),
        ('"float32"', '"float23"', "unknown dtype 'float23'; near names: float32"),
        ('"h200"', '"h20"', "unknown machine 'h20'; near names: h200"),
        ("at_most", "atmost", "unknown bound of ratio 'atmost'; near names: at_most"),
        ("0.5", '"0.5"', "want numbers at at_most"),
        ("ratio    =", "value    =", "value takes no opponent"),
        ('against  = "scans.slow"', "", "ratio wants an opponent"),
        ('against  = "scans.slow"', 'against = "scans.slo"', "not among needs; near names: scans"),
        ("at most half", "0.5 times", None),
        ("at most half", "2 times less than", "says has the number 2, which stands in no judged"),
        ("at most half", "3.88 times less than", "says has the number 3.88"),
        ("T = 1024, N =", "t = 1024, N =", "unknown key of where 't'"),
        ('"success"', '"succes"', "unknown role 'succes'; near names: success"),
        ("source   =", "# source =", "source is missing"),
        ("[[claim]]", "[claim]", "claim = "),
        ('= "half"', '= "half', "not TOML"),
        ("value = 3.88", "valeu = 3.88", "unknown key of reported 'valeu'; near names: value"),
        ("T = 1024, N", "T = 1024.5, N", "want whole numbers"),
    ],
)
def test_bad_input_gets_one_clear_line(
    tmp_path: Path, old: str, new: str, says: str | None
) -> None:
    assert old in GOOD
    file = write(tmp_path, GOOD.replace(old, new, 1))
    if says is None:
        claims.load(file)
        return
    with pytest.raises(ValueError, match="026-cyclic") as caught:
        claims.load(file)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_slope_wants_an_axis(tmp_path: Path) -> None:
    slope = GOOD.replace("ratio    = { at_most = 0.5 }", "slope = { at_most = 1.2 }")
    slope = slope.replace('against  = "scans.slow"', "")
    with pytest.raises(ValueError, match="slope wants an axis in `over`"):
        claims.load(write(tmp_path, slope))
    named = slope.replace("at_most = 1.2", 'at_most = 1.2, over = "T"')
    assert claims.load(write(tmp_path, named)).claims[0].over == "T"
    along = named.replace('over = "T"', 'over = "T", along = ["N"]')
    assert claims.load(write(tmp_path, along)).claims[0].along == ("N",)
    itself = named.replace('over = "T"', 'over = "T", along = ["T"]')
    with pytest.raises(ValueError, match="want other axes than that of a slope"):
        claims.load(write(tmp_path, itself))


def test_two_claims_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = GOOD + GOOD[GOOD.index("[[claim]]") :]
    with pytest.raises(ValueError, match="two claims are called 'half'"):
        claims.load(write(tmp_path, twice))


def test_unknown_plugin_is_refused_with_near_names(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(
        ValueError, match=r"unknown plugin 'scans\.fast'; near names: scans\.faster"
    ):
        claims.load_all(tmp_path, plugins={"scans.faster": None})


def test_every_claim_of_the_first_proposals_is_there() -> None:
    cases = claims.load_all()
    assert {"002", "009", "026", "060"} <= set(cases)
    for case in cases.values():
        assert any(claim.role == "success" for claim in case.claims), case.file


def unsaid(number: str, text: str) -> set[str]:
    """Stamps of entries that claim or report something of a proposal and that the text does not name."""
    entry = catalogue.subject(number)
    assert entry is not None
    stamps = {str(claim["source"]) for claim in entry.get("claims", ())}
    stamps |= {str(report["entry"]) for report in entry.get("reported", ())}
    return {stamp for stamp in stamps if stamp not in text}


def test_every_entry_of_the_catalogue_is_claimed_or_listed_as_not_judged() -> None:
    for number, case in claims.load_all().items():
        assert unsaid(number, case.file.read_text()) == set(), case.file


def test_an_entry_that_is_left_out_is_noticed() -> None:
    text = claims.load_all()["013"].file.read_text()
    assert unsaid("013", text.replace("02-15 10:14", "")) == {"02-15 10:14"}


def off_the_lab(claim: claims.Claim) -> list[str]:
    """Tasks of which the claim says the lab's threshold and means another figure."""
    for word, normalised in (("solved", SOLVED), ("failed", FAILED)):
        if f"the threshold is the lab's for a {word} task" in claim.source:
            (bound,) = claim.bounds.values()
            mine = [one for one in tasks.settings() if claim_covers(claim, one)]
            assert mine, f"{claim.id}: no task is called {claim.where['task']}"
            floors = {one: tasks.settings()[one].floor for one in mine}
            wanted = {one: floor + normalised * (1 - floor) for one, floor in floors.items()}
            return [one for one, found in wanted.items() if abs(found - bound) > 5e-5]
    return []


def claim_covers(claim: claims.Claim, task: str) -> bool:
    return claim.covers(machine=("cpu",), dtype="float32", sizes=task)


def test_a_threshold_of_the_lab_is_that_of_its_task() -> None:
    found = {
        f"{number} {claim.id}": off_the_lab(claim)
        for number, case in claims.load_all().items()
        for claim in case.claims
    }
    assert {name: where for name, where in found.items() if where} == {}


def test_another_threshold_is_noticed(tmp_path: Path) -> None:
    text = claims.load_all()["013"].file.read_text().replace("at_least = 0.925", "at_least = 0.9")
    file = write(tmp_path, text, "structured-transition/013-circulant-ssm.toml")
    first = claims.load(file).claims[0]
    assert off_the_lab(first) == ["word_problem-Z8-T16"]


@pytest.mark.parametrize("metric", ["accuracy", "accuracy_trained", "tokens_to_threshold"])
def test_whatever_training_gives_is_offered_by_the_suites_of_the_task(metric: str) -> None:
    claim = next(one for one in claims.load_all()["009"].claims if one.metric == "accuracy")
    asked = claims.Claim(**{**vars(claim), "metric": metric})
    offers = missing.suites_for(asked, [suite.load(name) for name in suite.names()])
    assert ("tasks", None) in offers
