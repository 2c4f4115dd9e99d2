"""Folder of results: asv's files as the one store of all measurements, and the lines beside them.

A file that is broken or half written, or is not what it says, is named and skipped, and the others
still count. Nothing but asv's own files, ``<machine>/<commit>-<environment>.json``, and the lines
beside them lies under ``results/``, so the site, the verdicts and an export read the same.
"""

import json
import re
import warnings
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..engine.metrics import METRICS
from .doubt import doubt, foreign, identity, repeated, unknown_metrics
from .measurement import History, Measurement
from .result_file import BROKEN, loaded, measurements


class CorruptResults(UserWarning):
    """A file under results/ could not be read; nothing of it was used or changed."""


class DoubtfulResults(CorruptResults):
    """A file under results/ is not what it says; nothing of it was used or changed."""


def read_all(
    results: Path | str = "results",
    history: History | None = None,
    plugins: Collection[str] | None = None,
    *,
    aside: bool = False,
) -> list[Measurement]:
    """Every measurement below ``results``; a file that is not used is named in one warning.

    With ``history``, commits are in its order and those outside it are foreign; with ``plugins``, a
    file that has none of them is. ``aside`` are those that are no figure of a contestant, see
    ``metrics.Metric``, and no others.
    """
    positions = {commit: i for i, commit in enumerate(history or (), 1)}
    return [
        replace(one, position=positions.get(one.commit, 0))
        for _, fresh in used(results, history, plugins)
        for one in fresh
        if METRICS[one.metric].aside == aside
    ]


def used(
    results: Path | str,
    history: History | None = None,
    plugins: Collection[str] | None = None,
) -> Iterator[tuple[Path, list[Measurement]]]:
    """The files that count, with what is in them; each of the others is named in one warning."""
    seen: dict[tuple[object, ...], Path] = {}
    for file in sorted(Path(results).glob("*/*.json")):
        if file.name == "machine.json":
            continue
        try:
            data = loaded(file)
            reason = doubt(file, data, history)
            fresh = [] if reason else measurements(data)
        except BROKEN as error:
            _warn(file, f"not read, {type(error).__name__}: {error}", CorruptResults)
            continue
        reason = reason or foreign(fresh, plugins) or repeated(fresh, seen)
        if reason:
            _warn(file, f"not used, {reason}", DoubtfulResults)
            continue
        if unknown := unknown_metrics(data):
            _warn(file, f"passed over, no metric of ours: {', '.join(unknown)}", DoubtfulResults)
        seen |= {identity(one): file for one in fresh}
        yield file, fresh


def lines(file: Path) -> Iterator[dict[str, Any]]:
    """What can be read of a file of one JSON object a line; the first line that cannot is named."""
    broken = []
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
    except BROKEN as error:
        _warn(file, f"not read, {type(error).__name__}: {error}", CorruptResults)
        return
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise ValueError(f"{line[:20]!r}, want an object")
        except BROKEN as error:
            broken.append(f"line {number}: {error}")
            continue
        yield found
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        _warn(file, f"a line not read, {broken[0]}{more}", CorruptResults)


def beside(
    results: Path | str, ending: str, history: History | None = None
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Machine, first eight digits of the commit, and each line of the files ``*.<ending>.jsonl``.

    ``ending`` is ``outcomes`` or ``curves``. A file of no commit, or of none in ``history``, is named
    and not used.
    """
    known = {commit[:8] for commit in history} if history else None
    for file in sorted(Path(results).glob(f"*/*.{ending}.jsonl")):
        commit = file.name.partition("-")[0]
        if not re.fullmatch("[0-9a-f]{8}", commit):
            _warn(file, "not used, want the name <commit>-<environment>", DoubtfulResults)
        elif known is not None and commit not in known:
            _warn(file, f"not used, commit {commit} is not in this history", DoubtfulResults)
        else:
            for line in lines(file):
                yield file.parent.name, commit, line


def _warn(file: Path, what: str, kind: type[Warning]) -> None:
    warnings.warn(f"{file}: {what}", kind, stacklevel=3)
