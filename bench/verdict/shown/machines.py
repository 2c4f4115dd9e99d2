"""Named machines as the site shows them: what asv recorded, what was measured there, and the gate."""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...record.json_value import finite
from ...record.measurement import Measurement
from ...record.result_file import BROKEN
from ...record.results_folder import CorruptResults, lines

Row = dict[str, Any]
CALIBRATION = "gate.calibration.jsonl"
"""What the gate was found to see on a machine, a line a calibration, oldest first."""


def machines(results: Path, known: Iterable[Measurement]) -> dict[str, Row]:
    """Every named machine with the commits and software measured there, newest first."""
    found: dict[str, Row] = {}
    for file in sorted(results.glob("*/machine.json")):
        facts = _facts(file)
        shown = {name: value for name, value in facts.items() if value and name != "version"}
        found[file.parent.name] = _machine(shown, calibrations(file.parent))
    runs: dict[tuple[Any, ...], int] = {}
    for one in known:
        run = (one.machine, one.moment, one.software)
        runs[run] = runs.get(run, 0) + 1
    for (name, (_, committed, commit), stack), count in sorted(runs.items(), reverse=True):
        here = found.setdefault(name, _machine({"machine": name}, []))
        row = {"committed": committed, "commit": commit, "stack": stack, "figures": count}
        here["runs"].append(row)
    return found


def calibrations(folder: Path) -> list[Row]:
    """What the gate was found to see on this machine, newest first."""
    return [_sound(one) for one in lines(folder / CALIBRATION)][::-1]


def _sound(value: Any) -> Any:
    """The same value with None for every number without bound."""
    if isinstance(value, dict):
        return {name: _sound(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_sound(one) for one in value]
    return finite(value) if isinstance(value, float) else value


def _machine(facts: Row, gate: list[Row]) -> Row:
    return {"facts": facts, "gate": gate, "runs": []}


def _facts(file: Path) -> Row:
    """What asv recorded of a machine; nothing, and a warning that names the file, if it is broken."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return dict(found)
    except BROKEN as error:
        said = f"{file}: not read, {type(error).__name__}: {error}"
        warnings.warn(said, CorruptResults, stacklevel=2)
        return {"machine": file.parent.name}
