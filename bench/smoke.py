"""``make bench``: measure the smoke suite here, print the verdicts, build the site, in ten minutes.

Whatever the time did not hold is named, and a second run goes on where this one stopped.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

SHARES = {"measured": 0.75, "compiled": 0.9}
"""Fraction of the budget that is gone when a stage has to be over; the site takes the rest."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run every stage; the exit status is 0 when the verdicts were printed, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    parser.add_argument("--suite", default="smoke")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds, the site included")
    args = parser.parse_args(argv)
    began = time.monotonic()
    ends = {stage: began + share * args.budget for stage, share in SHARES.items()}
    try:
        _measured(args.suite, ends["measured"] - began)
        _stage("compiled kernels", "bench.binary.compiled", args.suite, ends["compiled"])
    except KeyboardInterrupt:
        print("interrupted; what was measured is kept", file=sys.stderr)
        return 130
    _verdicts()
    site()
    print(f"{time.monotonic() - began:.0f} s")
    return 0


def _measured(suite_name: str, budget_s: float) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from .engine import runner

    total = len(runner.groups(suite_name))
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("contracts, measurements, training", total=total)
        begun: set[str] = set()

        def say(group: str, plugin: str, stage: str) -> None:
            told = f"{group}: {plugin or 'all'} {stage}"
            if group not in begun and not progress.console.is_terminal:
                print(group, file=sys.stderr, flush=True)
            begun.add(group)
            progress.update(bar, description=told, completed=len(begun) - 1)

        ran = runner.run_suite(suite_name, budget_s, claims_first=True, say=say)
        done = total - len(ran.left)
        progress.update(bar, description="contracts, measurements, training", completed=done)
    print(f"{ran.measured} groups measured, {ran.there} were there, {len(ran.left)} left")
    for group in ran.left:
        print(f"  left: {group}")
    for outcome in ran.outcomes:
        if outcome.outcome == "wrong" or outcome.again:
            print(f"  {outcome.outcome}: {outcome.plugin} {outcome.metric} {outcome.reason}")
    if ran.interrupted:
        raise KeyboardInterrupt


def _stage(what: str, module: str, suite_name: str, end: float) -> None:
    """A module's own way of measuring a suite, stopped at ``end``; it stores as it goes."""
    started = time.monotonic()
    print(f"{what} ...", file=sys.stderr)
    child = subprocess.Popen(
        [sys.executable, "-m", module, suite_name], start_new_session=True, stdout=sys.stderr
    )
    try:
        status = child.wait(timeout=max(1.0, end - started))
        said = "done" if status == 0 else f"failed with exit status {status}"
    except subprocess.TimeoutExpired:
        said = "stopped by the budget; another run goes on"
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    print(f"{what}: {said}, {time.monotonic() - started:.0f} s")


def _verdicts() -> None:
    from tabulate import tabulate

    from suites import catalogue

    from .verdict import current

    titles = catalogue.judged()
    judged = current.judgements()
    rows = [
        (number, titles[number]["title"], one.verdict, one.rule) for number, one in judged.items()
    ]
    spoken = [row for row in rows if row[2] != "UNTESTED"]
    print(tabulate(spoken, headers=("proposal", "title", "verdict", "rule"), disable_numparse=True))
    print(f"{len(rows) - len(spoken)} more are UNTESTED: madbench judge lists them all")


def site() -> int:
    """Asv's own site, with its plugins, as an exit status; benchmarks.json names every suite anew."""
    everything = {**os.environ, "MADBENCH_SUITE": "all"}
    asv = [sys.executable, "-m", "asv"]
    discover = [*asv, "run", "--python=same", "--bench", "just-discover"]
    for command in (discover, [*asv, "publish"]):
        done = subprocess.run(command, env=everything, capture_output=True, text=True, check=False)
        if done.returncode:
            told = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            print(f"no site: {' '.join(command[2:])} failed", *told[-8:], sep="\n  ")
            return 1
    print(
        "site: open html/index.html in a browser; asv's own graphs, html/asv.html, want a server:"
        " python -m http.server -d html"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
