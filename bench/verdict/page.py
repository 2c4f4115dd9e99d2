"""The site: verdicts first, then the figures side by side, the machines, and asv's own pages.

Named in ``asv.conf.json``. What ``asv publish`` wrote as ``index.html`` becomes ``asv.html``, and the
verdicts take its place; they need no server, no third-party script and no network.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from asv import util
from asv.console import log
from asv.publishing import OutputPublisher

from . import contents, current, vendored, vetted
from .history.ancestry import ancestry

STATIC = Path(__file__).parent / "site"
PLOTS = "plotly.min.js"
TAB = '<li id="nav-li-verdicts"><a href="index.html">Verdicts</a></li>\n\t'
ANCHORS = {
    '<li id="nav-li-" class="active">': TAB,
    '<div id="summarygrid-display"': (STATIC / "from_disk.html").read_text(encoding="utf-8"),
}
"""Where the page of asv 0.6.6 is changed, and what is put before it."""


class Verdicts(OutputPublisher):
    """The verdicts and everything behind them."""

    name = "verdicts"
    button_label = "Verdicts"
    description = "Which proposals to pursue, with the evidence"
    order = 4

    @classmethod
    def publish(cls, conf: Any, repo: Any, benchmarks: Any, graphs: Any, revisions: Any) -> None:
        """Write the site's pages over asv's index. UserError when asv's page is another one."""
        site, results = Path(conf.html_dir), Path(conf.results_dir)
        with vetted.told_once():
            history = ancestry(Path(conf.repo))
            known, aside = (
                current.measurements(results, history, aside=aside) for aside in (False, True)
            )
            judged = current.judgements(known=known)
            found = contents.contents(results, known, judged, aside=aside, history=history)
        found["commit_url"] = conf.show_commit_url if "://" in conf.show_commit_url else None
        write(site, found)
        leave_out_unmeasured(site, benchmarks)
        lacking = keep_asv(site, Path(conf.env_dir).parent / "vendor")
        if lacking:
            log.info(f"asv's own pages lack {', '.join(lacking)} and are left out")


def write(site: Path, found: Mapping[str, Any]) -> None:
    """The pages and their data, as scripts: a page on disk may load no JSON.

    ``verdicts.js`` has what every page needs; a part is loaded by the pages that show it.
    """
    site.mkdir(exist_ok=True)
    whole = {name: value for name, value in found.items() if name != "parts"}
    (site / "verdicts.js").write_text(f"var madbench = {script(whole)};\n", encoding="utf-8")
    for name, part in found["parts"].items():
        kind, _, which = name.partition("/")
        # a task may have any name, and none leads out of the folder
        place = site / "data" / kind / (quote(which, safe="!'()*") + ".js")
        place.parent.mkdir(parents=True, exist_ok=True)
        text = f"madbench.parts[{script(name)}] = {script(part)};\n"
        place.write_text(text, encoding="utf-8")
    for folder in ("", "scripts"):
        (site / folder).mkdir(exist_ok=True)
        for file in sorted((STATIC / folder).iterdir()):
            if file.suffix in (".js", ".css"):
                (site / folder / file.name).write_bytes(file.read_bytes())
    keep_plots(site)


def script(value: object) -> str:
    """A value as JavaScript that may stand in a page."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # a script may hold no end of a script
    return text.replace("</", "<\\/").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def keep_plots(site: Path) -> None:
    """The library that draws the plots, out of the installed package, which is not imported."""
    spec = find_spec("plotly")
    if spec is None or spec.origin is None:
        raise util.UserError("plotly is not installed, so no plot can be drawn: run `make` again")
    (site / "vendor").mkdir(exist_ok=True)
    (site / "vendor" / PLOTS).write_bytes(
        (Path(spec.origin).parent / "package_data" / PLOTS).read_bytes()
    )


def leave_out_unmeasured(site: Path, benchmarks: dict[str, Any]) -> None:
    """Take from asv's pages what has no graph: a plot without one is an error of the reader's browser."""
    for name in list(benchmarks):
        if not (site / "graphs" / "summary" / f"{name}.json").is_file():
            del benchmarks[name]


def keep_asv(site: Path, cache: Path) -> list[str]:
    """Move asv's page to ``asv.html``, without a source elsewhere; return what it lacks."""
    index = site / "index.html"
    html = with_tab(index.read_text(encoding="utf-8"))
    html, lacking = vendored.vendor(html, cache, site, vendored.fetcher())
    if lacking:
        html = (STATIC / "asv_missing.html").read_text(encoding="utf-8")
        html = html.replace("{lacking}", ", ".join(lacking))
    (site / "asv.html").write_text(html, encoding="utf-8")
    index.write_bytes((STATIC / "index.html").read_bytes())
    return lacking


def with_tab(html: str) -> str:
    """The page of asv with the Verdicts tab first. UserError when a place for it is not there once."""
    for anchor, added in ANCHORS.items():
        if html.count(anchor) != 1:
            raise util.UserError(
                f"asv's index.html has {anchor!r} {html.count(anchor)} times, want 1: "
                "bench/verdict/page.py was written for asv 0.6.6"
            )
        html = html.replace(anchor, added + anchor)
    return html
