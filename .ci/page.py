"""Opens the published site (``page.py html``) in headless Chromium and fails if it shows an error."""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import tempfile
import threading

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--virtual-time-budget=15000", "--dump-dom",
)  # fmt: skip
TABS = ("", "#summarylist", "#regressions", "#/verdicts", "#/changes", "#/machines")


def main() -> str | None:
    """The reason why the site is not in order, or None."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        return "no chromium on PATH: apt-get install chromium"
    handler = functools.partial(Quiet, directory=sys.argv[1])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            for tab in TABS:
                address = f"http://127.0.0.1:{server.server_port}/index.html{tab}"
                if reason := wrong(dom(browser, address)):
                    return f"{address}: {reason}"
                sys.stdout.write(f"{address}: ok\n")
        finally:
            server.shutdown()
    return None


def dom(browser: str, address: str) -> str:
    """The document after its scripts have run."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def wrong(document: str) -> str | None:
    """What is wrong with a rendered page, or None."""
    if "swallow" in document and "continental" in document:
        return "asv's error page: a script did not load"
    if not re.search(r"<title>[^<]*madbench", document):
        return "the title does not name madbench, so asv's scripts did not run"
    return None


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server that does not report every request."""

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    sys.exit(main())
