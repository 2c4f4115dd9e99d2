"""The site: built by ``asv publish`` from results in miniature, and read back."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from asv import util

from bench.record.results_folder import CorruptResults
from bench.verdict import page
from bench.verdict.shown import machines
from suites import catalogue

ROOT = Path(__file__).parents[2]
MINIATURE = Path(__file__).parent / "miniature" / "results"
BROKEN = "scans.kogge_stone.matrix"


def commits(repo: Path) -> None:
    """The six commits that the miniature's results name: nothing in them, so their hashes are fixed."""

    def git(*words: str, **more: str) -> str:
        command = ["git", "-C", str(repo), *words]
        env = {**os.environ, **more}
        done = subprocess.run(
            command, env=env, input="", capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main", "--object-format=sha1")
    tree, parent = git("hash-object", "-w", "-t", "tree", "--stdin"), ""
    for day in range(6):
        when = f"{1767225600 + 86400 * day} +0000"
        who = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", "m"), ("EMAIL", "m@example.org"), ("DATE", when))
        }
        after = ["-p", parent] if parent else []
        parent = git("commit-tree", tree, *after, "-m", f"commit {day}", **who)
    git("update-ref", "refs/heads/main", parent)


def publish(folder: Path, results: Path = MINIATURE) -> Path:
    """The site of the miniature, made in ``folder`` with this project's own configuration."""
    configured = util.load_json(str(ROOT / "asv.conf.json"), js_comments=True)
    configured |= {"results_dir": str(results), "html_dir": "html", "env_dir": ".asv/env"}
    (folder / "asv.conf.json").write_text(json.dumps(configured))
    offline = {**os.environ, "MADBENCH_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "asv", "publish"]
    done = subprocess.run(
        command, cwd=folder, env=offline, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("site")
    commits(made)
    publish(made)
    return made


@pytest.fixture(scope="module")
def site(folder: Path) -> Path:
    return folder / "html"


@pytest.fixture(scope="module")
def shown(site: Path) -> Any:
    text = (site / "verdicts.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("var madbench = ").removesuffix(";\n"))


@pytest.fixture(scope="module")
def parts(site: Path) -> Any:
    found = {}
    for file in sorted(site.glob("data/*/*.js")):
        text = file.read_text(encoding="utf-8").removeprefix("madbench.parts[")
        name, _, part = text.removesuffix(";\n").partition("] = ")
        found[json.loads(name)] = json.loads(part)
    return found


def test_verdicts_come_first(site: Path) -> None:
    html = (site / "index.html").read_text(encoding="utf-8")
    tabs = re.findall(r'<a href="([^"]+)">', html[html.index("<nav>") : html.index("</nav>")])
    assert tabs[0] == "#/verdicts" and "#/changes" in tabs
    assert "asv.html#/regressions" in (site / "scripts" / "changes.js").read_text(encoding="utf-8")


def test_every_proposal_is_listed(shown: Any) -> None:
    assert [one["id"] for one in shown["proposals"]] == list(catalogue.judged())
    without = [one for one in shown["proposals"] if not one["claims_file"]]
    assert {(one["verdict"], one["rule"]) for one in without} == {("UNTESTED", "no-claims")}


def test_a_status_that_was_reported_is_no_result_to_reproduce(shown: Any) -> None:
    reported = {
        one["id"]: (bool(one["reproduced"]), any(claim["reported"] for claim in one["claims"]))
        for one in shown["proposals"]
    }
    assert reported["013"] == (False, True)
    assert reported["022"] == reported["026"] == (True, True)


def test_a_claim_comes_with_its_evidence(shown: Any) -> None:
    claims = [claim for one in shown["proposals"] for claim in one["claims"]]
    evidence = [case for claim in claims for case in claim["evidence"]]
    assert {case["machine"] for case in evidence} == {"miniature-card", "miniature-cpu"}
    for case in evidence:
        low, high = case["interval"]
        assert low is None or low <= case["value"]
        assert high is None or case["value"] <= high
        assert case["commit"] and case["committed"]


def test_what_is_broken_shows_no_figure(site: Path, shown: Any, parts: Any) -> None:
    (table,) = parts["subject/matrix_recurrence"]["tables"]
    rows = {row["plugin"]: row for row in table["rows"]}
    assert rows[BROKEN]["contract"] == "wrong" and rows[BROKEN]["figures"] == {}
    assert rows["scans.cyclic_reduction.matrix"]["figures"]["time"]["value"] == 4102.05
    # figures of it at the newest commit alone
    for figure in ("7771.25", "195441777.0", "8777.0"):
        assert figure in (MINIATURE / "miniature-cpu" / results_at(table)).read_text()
        for file in (site / "verdicts.js", *site.glob("data/*/*.js")):
            assert figure not in file.read_text(encoding="utf-8"), file.name
    assert shown["plugins"][BROKEN]["contract"][0]["reason"] == "output: error 0.3, bound 1e-6"
    series = parts["subject/matrix_recurrence"]["series"]
    assert {one["metric"] for one in series if one["plugin"] == BROKEN} == {"contract"}
    against = [
        claim
        for one in shown["proposals"]
        for claim in one["claims"]
        if BROKEN in (claim["plugin"], claim["against"])
    ]
    assert against
    assert all(claim["state"] == "broken" and not claim["evidence"] for claim in against)


def results_at(table: Any) -> str:
    return f"{table['commit'][:8]}-overlay-py3.11.json"


def test_modelled_and_measured_stand_apart(shown: Any) -> None:
    modelled = {name for name, metric in shown["metrics"].items() if metric["modelled"]}
    assert {"traffic", "registers"} <= modelled
    assert not modelled & {"time", "dram_traffic", "error", "accuracy"}


def test_only_a_loss_is_a_regression(site: Path) -> None:
    found = json.loads((site / "regressions.json").read_text())["regressions"]
    (loss,) = [row for row in found if "accuracy" in row[0]]
    assert "'mixers.cosformer'" in loss[0]
    latest, best = loss[4:6]
    assert latest < best


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for file in [*site.glob("*.html"), *site.glob("*.css")]:
        text = file.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"([^\"]*)\"", text)
        loaded += re.findall(r"url\(([^)]*)\)|@import", text)
        assert not [one for one in loaded if re.match(r"[\"']?(?:https?:)?//", one)], file.name
    for file in site.glob("scripts/*.js"):
        ours = file.read_text(encoding="utf-8")
        assert not re.search(r"XMLHttpRequest|fetch\(|import\(|innerHTML", ours), file.name
        # one script loads others, from the folders of the site alone
        assert ("src:" in ours) == (file.name == "parts.js"), file.name


def test_every_local_file_that_is_named_is_there(site: Path) -> None:
    for file in (site / "index.html", site / "asv.html"):
        text = file.read_text(encoding="utf-8")
        for named in re.findall(r'(?:src|href)="([^"#:]+)[#"]', text):
            assert (site / named).is_file(), f"{file.name} names {named}"


def ours(site: Path) -> dict[str, bytes]:
    """Every file that the site's own pages consist of."""
    named = [site / name for name in ("index.html", "asv.html", "regressions.json")]
    files = [*named, *site.glob("*.css"), *site.glob("scripts/*"), *site.glob("data/*/*")]
    found = [*files, site / "verdicts.js", site / "vendor" / page.PLOTS]
    return {file.relative_to(site).as_posix(): file.read_bytes() for file in sorted(found)}


def test_a_second_publish_gives_the_same_bytes(folder: Path, site: Path) -> None:
    before = ours(site)
    publish(folder)
    assert ours(site) == before


def test_nothing_names_this_machine(site: Path) -> None:
    for name, content in ours(site).items():
        if name != f"vendor/{page.PLOTS}":
            text = content.decode()
            assert str(ROOT) not in text and str(Path.home()) + "/" not in text, name


def test_every_script_that_is_written_is_loaded_once(site: Path) -> None:
    html = (site / "index.html").read_text(encoding="utf-8")
    loaded = re.findall(r'<script src="scripts/([^"]+)"', html)
    assert sorted(loaded) == sorted(file.name for file in (site / "scripts").iterdir())


def test_the_source_of_every_plugin_is_there(shown: Any, parts: Any) -> None:
    for name, plugin in shown["plugins"].items():
        lines = parts[f"source/{plugin['file']}"].splitlines()
        assert lines[plugin["line"] - 1].startswith(("@", "def ", "class ")), name


def test_a_change_has_a_direction_and_a_recovery_stays(shown: Any) -> None:
    found = {
        (one["plugin"], one["metric"], one["direction"]): one
        for one in shown["changes"]
        if one["dtype"] == "float32" and one["sizes"] in ("mqar-T48", "B1-T512-H2-K32-V32")
    }
    assert found["mixers.cosformer", "accuracy", "worse"]["recovered"] is None
    assert ("mixers.gated_cosformer", "accuracy", "better") in found
    rise = found["chunkwise.linear_attention", "traffic", "recovered"]
    assert (rise["size"], rise["difference"]) == (1.25, False)
    fall = found["chunkwise.linear_attention", "traffic", "better"]
    assert rise["recovered"] == fall["commit"]


def test_a_figure_that_decides_nothing_is_neither_worse_nor_better(shown: Any, parts: Any) -> None:
    derived = {name for name, metric in shown["metrics"].items() if metric["way"] == "definition"}
    assert derived == {"compulsory", "setting"}
    assert not [one for one in shown["changes"] if one["metric"] in derived]


def test_a_series_over_commits_has_its_points_in_order(parts: Any) -> None:
    part = parts["subject/mqar-T48"]
    dates = [committed for _, committed in part["commits"]]
    assert dates == sorted(dates) and len(dates) == 6
    (one,) = [
        each
        for each in part["series"]
        if (each["plugin"], each["metric"]) == ("mixers.cosformer", "accuracy")
    ]
    assert [place for place, *_ in one["points"]] == list(range(6))


def test_a_machine_has_ceilings_a_roofline_and_the_gates_calibration(shown: Any) -> None:
    card, cpu = (shown["machines"][f"miniature-{name}"] for name in ("card", "cpu"))
    (ceiling,) = card["ceilings"]
    assert ceiling["origin"] == "measured" and set(ceiling["flops_per_s"]) == {"fp32", "bf16"}
    assert {row["bytes_are"] for row in card["roofline"]} == {"measured"}
    assert all(row["bound_us"] < row["time_us"] for row in card["roofline"])
    (calibration,) = cpu["gate"]
    # a number without bound is no JSON
    assert [row["smallest"] for row in calibration["planted"]] == [0.041, None]


def test_a_leaderboard_names_the_rivals(shown: Any) -> None:
    board = next(one for one in shown["leaderboards"] if one["subject"] == "linear_attention")
    for row in board["rows"]:
        rival = row["against"]["attention.flash2"]
        assert (rival["name"], rival["same_function"]) == ("FlashAttention-2", False)
        assert rival["paired"] and "another function" in rival["note"]


def test_learning_curves_stand_with_their_task(parts: Any) -> None:
    runs = parts["subject/mqar-T48"]["curves"]
    assert {(run["mixer"], run["seed"]) for run in runs} == {
        (f"mixers.{name}", seed) for name in ("cosformer", "gated_cosformer") for seed in range(3)
    }


def test_the_contract_of_a_mixer_is_no_task_of_its_own(shown: Any) -> None:
    assert set(shown["subjects"]) == {"linear_attention", "matrix_recurrence", "mqar-T48"}


def test_no_name_leads_out_of_the_site(tmp_path: Path) -> None:
    page.write(tmp_path / "site", {"parts": {"subject/../../../escaped": {}}})
    assert not list(tmp_path.glob("escaped*"))
    assert [file.name for file in (tmp_path / "site").glob("data/subject/*")] == [
        "..%2F..%2F..%2Fescaped.js"
    ]


def test_a_broken_machine_file_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    folder.mkdir()
    (folder / "machine.json").write_text("{")
    (folder / machines.CALIBRATION).write_text('{"rounds": 3}\n{\n')
    with pytest.warns(CorruptResults) as warned:
        found = machines.machines(tmp_path, [])
    assert len(warned) == 2
    assert found == {"lost": {"facts": {"machine": "lost"}, "gate": [{"rounds": 3}], "runs": []}}


def test_the_plots_are_drawn_by_the_installed_library(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert b"plotly.js v" in (site / "vendor" / page.PLOTS).read_bytes()[:200]
    monkeypatch.setattr(page, "find_spec", lambda name: None)
    with pytest.raises(util.UserError, match="plotly is not installed"):
        page.keep_plots(tmp_path)


def test_the_page_of_this_asv_is_the_one_we_know() -> None:
    html = asv_page()
    changed = page.with_tab(html)
    assert changed.index('href="index.html"') < changed.index("nav-li-summarylist")


def test_another_page_of_asv_is_refused() -> None:
    with pytest.raises(util.UserError, match="want 1"):
        page.with_tab(asv_page().replace('id="summarygrid-display"', 'id="grid"'))


def asv_page() -> str:
    import asv

    return (Path(asv.__file__).parent / "www" / "index.html").read_text(encoding="utf-8")
