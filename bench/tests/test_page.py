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

from bench.verdict import page

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


def publish(folder: Path) -> Path:
    """The site of the miniature, made in ``folder`` with this project's own configuration."""
    configured = util.load_json(str(ROOT / "asv.conf.json"), js_comments=True)
    configured |= {"results_dir": str(MINIATURE), "html_dir": "html", "env_dir": ".asv/env"}
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


def test_verdicts_come_first(site: Path) -> None:
    html = (site / "index.html").read_text(encoding="utf-8")
    tabs = re.findall(r'<a href="([^"]+)">', html[html.index("<nav>") : html.index("</nav>")])
    assert tabs[0] == "#/verdicts" and "asv.html#/regressions" in tabs


def test_every_proposal_is_listed(shown: Any) -> None:
    assert len(shown["proposals"]) == 62
    without = [one for one in shown["proposals"] if not one["claims_file"]]
    assert {(one["verdict"], one["rule"]) for one in without} == {("UNTESTED", "no-claims")}


def test_a_claim_comes_with_its_evidence(shown: Any) -> None:
    claims = [claim for one in shown["proposals"] for claim in one["claims"]]
    evidence = [case for claim in claims for case in claim["evidence"]]
    assert {case["machine"] for case in evidence} == {"miniature-cpu"}
    for case in evidence:
        low, high = case["interval"]
        assert low is None or low <= case["value"]
        assert high is None or case["value"] <= high
        assert case["commit"] and case["committed"]


def test_what_is_broken_shows_no_figure(site: Path, shown: Any) -> None:
    (table,) = [one for one in shown["tables"] if one["subject"] == "matrix_recurrence"]
    rows = {row["plugin"]: row for row in table["rows"]}
    assert rows[BROKEN]["contract"] == "wrong" and rows[BROKEN]["figures"] == {}
    assert rows["scans.cyclic_reduction.matrix"]["figures"]["time"]["value"] == 4102.05
    # figures of it at the newest commit alone
    for figure in ("7771.25", "195441777.0", "8777.0"):
        assert figure in (MINIATURE / "miniature-cpu" / results_at(table)).read_text()
        assert figure not in (site / "verdicts.js").read_text(encoding="utf-8")
    assert shown["plugins"][BROKEN]["contract"][0]["reason"] == "output: error 0.3, bound 1e-6"
    assert [point[0] for point in table["history"]["time"][BROKEN]] == [0]
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
    ours = (site / "site.js").read_text(encoding="utf-8")
    assert not re.search(r"XMLHttpRequest|fetch\(|import\(|innerHTML|\bsrc\b", ours)


def test_every_local_file_that_is_named_is_there(site: Path) -> None:
    for file in (site / "index.html", site / "asv.html"):
        text = file.read_text(encoding="utf-8")
        for named in re.findall(r'(?:src|href)="([^"#:]+)[#"]', text):
            assert (site / named).is_file(), f"{file.name} names {named}"


def test_a_second_publish_gives_the_same_bytes(folder: Path, site: Path) -> None:
    names = ("index.html", "asv.html", "verdicts.js", "site.js", "site.css", "regressions.json")
    before = {name: (site / name).read_bytes() for name in names}
    publish(folder)
    assert {name: (site / name).read_bytes() for name in names} == before


def test_nothing_names_this_machine(site: Path) -> None:
    text = (site / "verdicts.js").read_text(encoding="utf-8")
    assert str(ROOT) not in text and str(Path.home()) + "/" not in text


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
