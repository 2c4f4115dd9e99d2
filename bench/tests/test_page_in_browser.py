"""The site as a browser shows it: opened from disk, offline, on a phone; skipped without Chromium."""

import functools
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tests import test_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom"),
]
PHONE = 390
NOTICE = """<head><script>addEventListener("error", function (event) {
  if (event.target !== window) { console.error("not loaded: " + event.target.outerHTML); }
}, true);</script>"""
WATCH = f"""<!doctype html><iframe id="phone" width="{PHONE}" height="800"></iframe><ol></ol><script>
var pages = PAGES, frame = document.getElementById("phone");
frame.onload = function () {{
  pages.forEach(function (page) {{
    frame.contentWindow.location.hash = page;
    frame.contentWindow.dispatchEvent(new HashChangeEvent("hashchange"));
    var line = document.createElement("li");
    line.textContent = page + " " + frame.contentDocument.documentElement.scrollWidth;
    document.querySelector("ol").appendChild(line);
  }});
}};
frame.src = "index.html";
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browsed")
    test_page.commits(folder)
    return test_page.publish(folder)


def opened(address: str, folder: Path) -> tuple[str, list[str]]:
    """The document after its scripts ran, and what the browser's console complained of."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", address],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    shutil.rmtree(folder / "profile", ignore_errors=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def with_script(site: Path, script: str) -> str:
    """A copy of the first page that tells of failed requests and runs one more script at its end."""
    html = (site / "index.html").read_text(encoding="utf-8").replace("<head>", NOTICE)
    copy = site / "copy.html"
    copy.write_text(html.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return copy.as_uri()


def proposals(dom: str) -> list[str]:
    return re.findall(r'<tr data-proposal="(\d{3})"', dom)


def test_all_proposals_are_there_from_disk(site: Path, tmp_path: Path) -> None:
    dom, complaints = opened((site / "index.html").as_uri(), tmp_path)
    assert complaints == []
    assert sorted(proposals(dom)) == sorted(set(proposals(dom))) and len(proposals(dom)) == 62
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
    assert 0 < len(proposals(dom)) < 62


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


def test_no_page_is_wider_than_a_phone(site: Path, tmp_path: Path, served: str) -> None:
    pages = ["#/verdicts", "#/proposal/026", "#/proposal/001", "#/figures/matrix_recurrence"]
    pages += ["#/machines", "#/machine/miniature-cpu", "#/reading", f"#/plugin/{test_page.BROKEN}"]
    (site / "watch.html").write_text(WATCH.replace("PAGES", str(pages)), encoding="utf-8")
    dom, complaints = opened(f"{served}/watch.html", tmp_path)
    widths = dict(re.findall(r"<li>(\S+) (\d+)</li>", dom))
    assert complaints == [] and list(widths) == pages
    assert {page: int(width) for page, width in widths.items() if int(width) > PHONE} == {}


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
