"""The site as a browser shows it: opened from disk, offline, on a phone; skipped without Chromium."""

import functools
import html
import http.server
import json
import re
import shutil
import statistics
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.tests import test_page
from suites import catalogue

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom"),
]
PHONE, WIDE = 390, 1200
MINIATURE = test_page.MINIATURE / "miniature-cpu"
NOTICE = """<head><script>addEventListener("error", function (event) {
  if (event.target !== window) { console.error("not loaded: " + event.target.outerHTML); }
}, true);</script>"""
WALK = """<!doctype html><iframe id="frame" width="WIDTH" height="800"></iframe><pre></pre><script>
var waiting = ["#/verdicts", "#/changes", "#/figures", "#/machines", "#/reading"], only = WANTED, seen = {}, found = [];
var frame = document.getElementById("frame");
function all(selector) { return Array.from(frame.contentDocument.querySelectorAll(selector)); }
function settled() {
  all("details").forEach(function (one) { one.open = true; });
  return !all("[data-waiting]").length && all(".plot").every(function (one) {
    return one.querySelectorAll(".scatterlayer .trace").length >= Number(one.dataset.traces);
  });
}
function told(page, late) {
  var links = all("main a[href^='#']").map(function (one) { return one.getAttribute("href"); });
  links.forEach(function (one) { if (!only.length && !seen[one]) { seen[one] = true; waiting.push(one); } });
  found.push({
    page: page, late: late, title: frame.contentDocument.title,
    width: frame.contentDocument.documentElement.scrollWidth,
    plots: all(".plot").map(function (one) {
      return {label: one.getAttribute("aria-label"), wanted: Number(one.dataset.traces),
        drawn: one.querySelectorAll(".scatterlayer .trace").length, svg: one.querySelectorAll("svg.main-svg").length,
        wide: one.scrollWidth > one.clientWidth, ink: getComputedStyle(one.querySelector(".xtitle") || one).fill,
        rows: one.parentNode.querySelectorAll("td").length || all("table").length};
    })
  });
}
function next() {
  var page = waiting.shift(), tries = 0;
  if (!page) {
    document.querySelector("pre").textContent = JSON.stringify(found);
    return;
  }
  frame.contentWindow.location.hash = page;
  (function look() {
    if (tries > 1 && (settled() || tries > 1000)) { told(page, !settled()); next(); }
    else { tries += 1; setTimeout(look, 20); }
  }());
}
waiting = only.length ? only.slice() : waiting;
waiting.forEach(function (one) { seen[one] = true; });
frame.onload = function () { frame.onload = null; next(); };
frame.src = "index.html";
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browsed")
    test_page.commits(folder)
    return test_page.publish(folder)


def opened(address: str, folder: Path, *flags: str) -> tuple[str, list[str]]:
    """The document after its scripts ran, and what the browser's console complained of."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *QUIET, *flags, f"--user-data-dir={folder / 'profile'}", address],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    shutil.rmtree(folder / "profile", ignore_errors=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def walked(
    site: Path,
    served: str,
    folder: Path,
    wanted: Sequence[str] = (),
    *flags: str,
    width: int = WIDE,
) -> list[Any]:
    """What the browser finds on the pages ``wanted``, or on all that links lead to."""
    text = WALK.replace("WANTED", json.dumps(wanted)).replace("WIDTH", str(width))
    (site / "walk.html").write_text(text, encoding="utf-8")
    # virtual time: it passes only while the browser has nothing to do
    dom, complaints = opened(f"{served}/walk.html", folder, "--virtual-time-budget=600000", *flags)
    (site / "walk.html").unlink()
    assert complaints == []
    match = re.search(r"<pre>(\[.*\])</pre>", dom, re.DOTALL)
    assert match, "the walk did not end"
    return json.loads(html.unescape(match[1]))


def with_script(site: Path, script: str) -> str:
    """A copy of the first page that tells of failed requests and runs one more script at its end."""
    text = (site / "index.html").read_text(encoding="utf-8").replace("<head>", NOTICE)
    copy = site / "copy.html"
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return copy.as_uri()


def proposals(dom: str) -> list[str]:
    return re.findall(r'<tr data-proposal="(\w+)"', dom)


def test_all_proposals_are_there_from_disk(site: Path, tmp_path: Path) -> None:
    dom, complaints = opened((site / "index.html").as_uri(), tmp_path)
    assert complaints == []
    assert sorted(proposals(dom)) == sorted(set(proposals(dom))) and len(proposals(dom)) == len(
        catalogue.judged()
    )
    rows = dom.split("<tr ")[1:]
    assert all('data-verdict="UNTESTED"' in row for row in rows if "no plugin yet" in row)
    assert opened(with_script(site, ""), tmp_path)[1] == []


def test_a_complaint_of_the_console_is_noticed(site: Path, tmp_path: Path) -> None:
    dom, complaints = opened(with_script(site, "absent();"), tmp_path)
    assert proposals(dom) and len(complaints) == 1
    image = "document.body.appendChild(new Image()).src = 'absent.png';"
    assert "absent.png" in opened(with_script(site, image), tmp_path)[1][0]


def test_a_filter_and_an_order_can_be_chosen(site: Path, tmp_path: Path) -> None:
    choose = """
        var verdict = document.querySelector("select[name=verdict]");
        verdict.value = "UNTESTED";
        verdict.dispatchEvent(new Event("change"));
        document.querySelector("th button").click();
        document.querySelector("th button").click();
    """
    dom, complaints = opened(with_script(site, choose), tmp_path)
    assert complaints == [] and set(re.findall(r'data-verdict="(\w+)"', dom)) == {"UNTESTED"}
    assert proposals(dom) == sorted(proposals(dom), reverse=True)
    assert 0 < len(proposals(dom)) < len(catalogue.judged())


def test_a_proposal_opens_with_claims_and_commands(site: Path, tmp_path: Path) -> None:
    dom, complaints = opened((site / "index.html").as_uri() + "#/proposal/026", tmp_path)
    assert complaints == []
    assert "madbench judge 026" in dom and 'class="claim"' in dom
    assert "miniature-cpu" in dom and "99% interval" in dom and "contract-broken" in dom


def test_a_broken_row_has_an_outcome_and_no_figure(site: Path, tmp_path: Path) -> None:
    dom, complaints = opened(
        (site / "index.html").as_uri() + "#/figures/matrix_recurrence", tmp_path
    )
    assert complaints == []
    rows = dict(re.findall(r'<tr data-plugin="([^"]+)"[^>]*>(.*?)</tr>', dom))
    assert "fails its contract: no figures" in rows[test_page.BROKEN]
    assert 'class="figure' not in rows[test_page.BROKEN]
    assert 'class="figure' in rows["scans.prefix_scan.matrix"]


PAGES = (
    "#/verdicts", "#/transitions", "#/changes", "#/figures", "#/machines", "#/reading",
    "#/proposal/026",
    "#/proposal/001", "#/figures/linear_attention", "#/figures/matrix_recurrence",
    "#/figures/mqar-T48", "#/machine/miniature-card", "#/machine/miniature-cpu",
    f"#/plugin/{test_page.BROKEN}", "#/plugin/chunkwise.linear_attention", "#/plugin/mixers.cosformer",
)  # fmt: skip
"""One of every kind of page, and of every kind of figure."""


def test_every_link_leads_to_a_page(site: Path, tmp_path: Path, served: str) -> None:
    found = {one["page"]: one for one in walked(site, served, tmp_path)}
    assert set(PAGES) <= set(found)
    assert len([page for page in found if page.startswith("#/proposal/")]) == len(
        catalogue.judged()
    )
    assert {page for page, one in found.items() if "Not here" in one["title"]} == set()
    assert {page for page, one in found.items() if one["late"]} == set()


def test_a_link_that_leads_nowhere_is_noticed(site: Path, tmp_path: Path, served: str) -> None:
    (lost,) = walked(site, served, tmp_path, ["#/plugin/no.such"])
    assert "Not here" in lost["title"]


def test_every_plot_has_as_many_traces_as_data(site: Path, tmp_path: Path, served: str) -> None:
    found = {one["page"]: one["plots"] for one in walked(site, served, tmp_path, PAGES)}
    drawn = {page for page, plots in found.items() if plots}
    assert {
        page for page in PAGES if re.search("linear_attention|mqar|cosformer|card", page)
    } <= drawn
    for page, plots in found.items():
        for plot in plots:
            assert plot["svg"] and plot["drawn"] == plot["wanted"] > 0, (page, plot["label"])
            assert plot["rows"], f"{page}: no table beside {plot['label']}"
    # the three lengths, bytes and errors of one plugin, and its history
    assert len(found["#/plugin/chunkwise.linear_attention"]) == 4


def test_no_page_is_wider_than_a_phone(site: Path, tmp_path: Path, served: str) -> None:
    found = walked(site, served, tmp_path, PAGES, width=PHONE)
    assert {one["page"]: one["width"] for one in found if one["width"] > PHONE} == {}
    assert [plot for one in found for plot in one["plots"] if plot["wide"]] == []


def test_plots_are_drawn_in_the_ink_of_the_page(site: Path, tmp_path: Path, served: str) -> None:
    page = ["#/plugin/chunkwise.linear_attention"]
    inks = [
        {
            plot["ink"]
            for one in walked(site, served, tmp_path, page, *flags)
            for plot in one["plots"]
        }
        for flags in ((), ("--blink-settings=preferredColorScheme=0",))
    ]
    assert inks == [{"rgb(27, 31, 36)"}, {"rgb(228, 231, 234)"}]


def test_a_claims_number_is_that_of_the_results(site: Path, tmp_path: Path) -> None:
    file = max(
        MINIATURE.glob("*-overlay-py3.11.json"), key=lambda one: json.loads(one.read_text())["date"]
    )
    table = json.loads(file.read_text())
    row = table["results"]["kernels.SmokeMatrixRecurrence.track_time"]
    plugins = [name.strip("'") for name in row[1][0]]
    samples = row[table["result_columns"].index("samples")]
    mine, other = (
        samples[plugins.index(f"scans.{name}.matrix")]
        for name in ("cyclic_reduction", "prefix_scan")
    )
    ratio = statistics.median(a / b for a, b in zip(mine, other, strict=True))
    dom, complaints = opened((site / "index.html").as_uri() + "#/proposal/026", tmp_path)
    (claim,) = re.findall(
        r'<section[^>]*data-claim="beats-prefix-scan">(.*?)</section>', dom, re.DOTALL
    )
    assert complaints == []
    assert f"{ratio:.4g}\u00a0x" in html.unescape(claim) and table["commit_hash"][:8] in claim


def test_a_picture_of_a_claim_shows_every_case(site: Path, tmp_path: Path) -> None:
    dom, _ = opened((site / "index.html").as_uri() + "#/proposal/026", tmp_path)
    for claim in re.findall(r'<section[^>]*class="claim".*?</section>', dom, re.DOTALL):
        cases = claim.count('data-label="case"')
        assert claim.count("<circle") == cases and (cases == 0) == ("<svg" not in claim)


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Silent, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
