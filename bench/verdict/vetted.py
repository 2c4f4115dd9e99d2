"""What asv may read of ``results/``: the files that count, and no others.

Named in ``asv.conf.json``. asv 0.6.6 ends with a traceback at a file of some contents, says four times
what it makes of others, and publishes a copied or future-dated one as it stands. With this it meets
only what ``results_folder.used`` lets pass, and every other file is named in one line.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from asv import results, util
from asv.commands import publish
from asv.console import log
from asv.machine import Machine

from impl import registry

from ..record import result_file, results_folder

Found = tuple[str, str, str]
"""Folder, name and machine of a file of results, as asv goes through them."""

_told: set[str] = set()


@contextlib.contextmanager
def told_once() -> Iterator[None]:
    """Say in one of asv's lines, once, each file that is not used."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", results_folder.CorruptResults)
        yield
    for line in (str(each.message) for each in caught):
        if line not in _told:
            log.warning(line)
            _told.add(line)


@functools.cache
def unused(folder: Path) -> frozenset[Path]:
    """Files below ``folder`` that do not count, as it was when it was first asked about."""
    with told_once():
        counted = {file for file, _ in results_folder.used(folder, plugins=registry.index())}
    return frozenset({*folder.glob("*/*.json")} - counted)


def _files(every: Callable[[str], Iterator[Found]]) -> Callable[[str], Iterator[Found]]:
    @functools.wraps(every)
    def files(folder: str) -> Iterator[Found]:
        for root, name, machine in sorted(every(folder)):
            if Path(root, name) not in unused(Path(root).parent):
                yield root, name, machine

    return files


def _machines(every: Callable[[str], Iterator[str]]) -> Callable[[str], Iterator[str]]:
    @functools.wraps(every)
    def machines(folder: str) -> Iterator[str]:
        for path in every(folder):
            try:
                util.load_json(path, Machine.api_version)["machine"]
            except (util.UserError, *result_file.BROKEN) as error:
                log.warning(f"{path}: not read, {type(error).__name__}: {error}")
            else:
                yield path

    return machines


results.iter_results_paths = _files(results.iter_results_paths)
publish.iter_machine_files = _machines(publish.iter_machine_files)
