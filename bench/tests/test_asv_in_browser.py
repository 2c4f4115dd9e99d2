"""asv's own pages, with scripts from packages, as a browser shows them; skipped where those cannot be had."""

import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.tests import test_page, test_page_in_browser
from bench.verdict import vendored

pytestmark = test_page_in_browser.pytestmark
PLOT = "flot-base"
MEASURED = "kernels.SmokeMatrixRecurrence.track_time"
UNMEASURED = "kernels.SmokeMatrixRecurrence.track_nothing"


@dataclass(frozen=True)
class Served:
    folder: Path
    address: str
    refused: list[str]
    """What was asked for and is not there."""

    def opened(self, page: str) -> str:
        """The page after its scripts ran; fails where something of it is wrong."""
        self.refused.clear()
        dom, complaints = test_page_in_browser.opened(
            f"{self.address}/asv.html{page}", self.folder.parent
        )
        assert complaints == [] and self.refused == []
        assert re.search("<title>[^<]*madbench", dom)
        return dom


def with_an_unmeasured_one(folder: Path) -> Path:
    """The miniature, with a benchmark of which there is no figure."""
    shutil.copytree(test_page.MINIATURE, folder)
    place = folder / "benchmarks.json"
    known = json.loads(place.read_text())
    known[UNMEASURED] = known[MEASURED] | {"name": UNMEASURED}
    place.write_text(json.dumps(known))
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("asv")
    kept = folder / ".asv" / "vendor"
    _, lacking = vendored.vendor(test_page.asv_page(), kept, folder / "unused", vendored.fetcher())
    if lacking:
        pytest.skip(f"neither npm nor a server gives {', '.join(lacking)}")
    test_page.commits(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_page, "MINIATURE", with_an_unmeasured_one(folder / "results"))
        site = test_page.publish(folder)
    refused: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def log_error(self, format: str, *args: object) -> None:
            refused.append(self.path)

    handler = functools.partial(Handler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Served(site, f"http://127.0.0.1:{server.server_port}", refused)
        server.shutdown()


def test_the_grid_draws_what_was_measured(served: Served) -> None:
    assert served.opened("#/").count(PLOT) > 3


def test_a_benchmark_has_its_graph(served: Served) -> None:
    dom = served.opened(f"#{MEASURED}")
    assert PLOT in dom and "No data for this combination" not in dom


def test_the_list_and_the_regressions_are_tables(served: Served) -> None:
    assert served.opened("#summarylist?sort=1&dir=desc").count("<tr") > 10
    assert "mixers.cosformer" in served.opened("#regressions?sort=3&dir=desc")


def test_what_was_not_measured_is_not_offered(served: Served) -> None:
    known = json.loads((served.folder / "index.json").read_text())["benchmarks"]
    assert UNMEASURED not in known
    graphs = {file.stem for file in (served.folder / "graphs" / "summary").glob("*.json")}
    assert set(known) == graphs != set()
    assert served.opened("#/").count("benchmark-container") == len(known)


def test_a_script_that_is_missing_is_noticed(served: Served) -> None:
    (served.folder / "vendor" / "jquery.flot.min.js").rename(served.folder / "flot")
    try:
        with pytest.raises(AssertionError):
            served.opened("#/")
    finally:
        (served.folder / "flot").rename(served.folder / "vendor" / "jquery.flot.min.js")
