"""The catalogue of proposals and tricks, and the suite's own goals, as plain dictionaries.

Imports nothing but the stdlib.

A table stands in the file of its family or category, so looking one up parses one file.
"""

import functools
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent

Entry = Mapping[str, Any]


def proposals() -> dict[str, Entry]:
    """Every proposal by number, in order; ``family`` and ``id`` are filled in."""
    return dict(sorted(_all("proposals").items()))


def tricks() -> dict[str, Entry]:
    """Every trick by slug, in order of category; ``category`` and ``slug`` are filled in."""
    return _all("tricks")


def proposal(number: str) -> Entry | None:
    """The proposal with this number, or None."""
    return _find("proposals", number)


def judged() -> dict[str, Entry]:
    """Whatever claims may be about, in order: every proposal, then every goal of this suite."""
    return proposals() | dict(sorted(_all("goals").items()))


def judged_names() -> dict[str, str]:
    """Number of each proposal and goal to its family; parses nothing."""
    return {**names("proposals"), **names("goals")}


def subject(number: str) -> Entry | None:
    """The proposal or goal with this number, or None."""
    return _find("proposals", number) or _find("goals", number)


def trick(slug: str) -> Entry | None:
    """The trick with this slug, or None."""
    return _find("tricks", slug)


@functools.cache
def names(kind: str) -> Mapping[str, str]:
    """Number or slug to family or category, of ``proposals``, ``goals`` or ``tricks``; parses nothing."""
    heads = ((file, re.findall(r"^\[([\w-]+)\]$", text, re.M)) for file, text in _texts(kind))
    return {name: file.stem for file, found in heads for name in found}


def _all(kind: str) -> dict[str, Entry]:
    return {name: entry for file, _ in _texts(kind) for name, entry in _read(kind, file).items()}


def _find(kind: str, name: str) -> Entry | None:
    group = names(kind).get(name)
    return _read(kind, FOLDER / kind / f"{group}.toml")[name] if group else None


@functools.cache
def _texts(kind: str) -> list[tuple[Path, str]]:
    files = sorted((FOLDER / kind).glob("*.toml"))
    return [(file, file.read_text(encoding="utf-8")) for file in files]


@functools.cache
def _read(kind: str, file: Path) -> dict[str, Entry]:
    name, group = ("slug", "category") if kind == "tricks" else ("id", "family")
    try:
        tables = tomllib.loads(dict(_texts(kind))[file])
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file}: {error}") from error
    return {key: {name: key, group: file.stem} | _unwrap(table) for key, table in tables.items()}


def _unwrap(value: Any) -> Any:
    """The same value with prose that was wrapped over lines joined again."""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, list):
        return [_unwrap(item) for item in value]
    if isinstance(value, dict):
        return {key: _unwrap(item) for key, item in value.items()}
    return value
