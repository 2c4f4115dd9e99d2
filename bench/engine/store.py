"""Writing into asv's result files, as ``asv run`` does, so that every reader finds one store.

Figures of a commit go to ``results/``. While ``impl``, ``correctness`` or ``bench`` differ from the
commit, figures are no commit's: they go to a folder of ``.asv/uncommitted/`` named after the code,
where the verdicts of this checkout look too, and asv never does.
"""

import hashlib
import itertools
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hardware import machine
from ..record import setting
from ..record.benchmark_name import KERNELS, class_name
from ..record.measurement import Measurement
from ..record.result_file import read
from ..record.results_folder import CorruptResults, lines
from . import checkout
from .admission import write_atomically
from .checkout import CODE, TREE, Commit
from .contest import Problem, Results
from .metrics import KERNEL, METRICS, RIVALS, SETTING
from .suite import Contest

if TYPE_CHECKING:
    from collections.abc import Set

    from asv.results import Results as Stored


def sizes_name(sizes: Mapping[str, int]) -> str:
    """``{"B": 1, "T": 64}`` as ``B1-T64``."""
    return "-".join(f"{axis}{size}" for axis, size in sizes.items())


def group_name(problem: Problem) -> str:
    """``delta_rule B1-T512 float32``."""
    return f"{problem.op} {sizes_name(problem.sizes)} {problem.dtype}"


def round_name(results: Results) -> int:
    """Milliseconds since 1970 at which the rounds began: the name of what was taken together."""
    return int(results.began * 1e3)


def measurements(
    problem: Problem, results: Results, at: Commit | None = None
) -> Iterator[Measurement]:
    """What a contest left, as measurements of this machine at a commit, by default the tree's own."""
    here, at = machine.record(problem.device), at or checkout.here()
    admitted = {
        each.plugin: "wrong" if each.samples[0] else "ok"
        for each in results.figures
        if each.metric == "contract"
    }
    codes = {each.plugin: each.samples[0] for each in results.figures if each.metric == SETTING}
    for figure in (each for each in results.figures if each.metric != SETTING):
        yield Measurement(
            plugin=figure.plugin,
            metric=figure.metric,
            unit=METRICS[figure.metric].unit,
            sizes=sizes_name(problem.sizes),
            dtype=problem.dtype,
            machine=here.name,
            kind=here.kind,
            samples=figure.samples,
            low=figure.low,
            high=figure.high,
            modelled=METRICS[figure.metric].modelled,
            contract=admitted.get(figure.plugin, "not run"),
            commit=at.hash,
            group=f"{at.hash}:{problem.op}:{round_name(results)}",
            stack=here.stack,
            knobs=setting.told(figure.plugin, codes.get(figure.plugin)),
        )


Cells = Mapping[tuple[str, ...], tuple[float, ...]]
"""The values of a benchmark's parameters to the samples taken there."""


@dataclass(frozen=True)
class Place:
    """The folder that figures of this machine and a commit are written to."""

    folder: Path
    at: Commit = field(default_factory=checkout.here)

    @classmethod
    def of(cls, out: Path | None = None, at: Commit | None = None) -> "Place":
        """``out``, or ``results/`` for a clean commit, or the folder for what is not committed."""
        at = at or checkout.here()
        return cls(out or (TREE / "results" if at.clean else uncommitted()), at)

    def file(self, device: str) -> Path:
        """The file of this machine and commit."""
        name = f"{self.at.hash[:8]}-{_environment()}.json"
        return self.folder / machine.record(device).name / name

    def lacking(self, suite: str, problem: Problem) -> list[str]:
        """Contestants with neither a figure nor a reason here, or with one worth trying again."""
        file, group = self.file(problem.device), [suite, group_name(problem)]
        there: set[str] = set()
        if file.is_file() and not _set_aside(file):
            # mixers may meet as layers in more than one table of a suite
            place = (class_name(suite, problem.op), sizes_name(problem.sizes), problem.dtype)
            at = ":".join((self.at.hash, *place, ""))
            there = {m.plugin for m in read(file) if m.group.startswith(at)}
        for line in lines(_outcomes(file)):
            if line["group"] == group:
                there.add(line["plugin"])
        again = {
            line["plugin"]
            for line in lines(_outcomes(file))
            if line["group"] == group and line["again"]
        }
        return [plugin for plugin in problem.plugins if plugin not in there - again]

    def has(self, device: str, subject: str) -> bool:
        """Whether anything of a subject, ``static.SmokeDeltaRule``, is stored here."""
        names = self._open(device).get_all_result_keys()
        return any(name.startswith(f"{subject}.") for name in names)

    def add(self, suite: str, contest: Contest, problem: Problem, results: Results) -> None:
        """Write a contest's figures, and the reasons for those that are missing."""
        axes = (contest.everyone, contest.all_sizes, contest.dtypes)
        place = sizes_name(problem.sizes), problem.dtype
        found: dict[str, dict[tuple[str, ...], tuple[float, ...]]] = {
            m: {} for m in (*KERNEL, *RIVALS, SETTING)
        }
        for figure in results.figures:
            found[figure.metric][figure.plugin, *place] = figure.samples
        subject = f"{KERNELS}.{class_name(suite, contest.op)}"
        now = {(plugin, *place) for plugin in contest.everyone}
        self.write(
            problem.device, subject, (contest.version, axes), found, now, round_name(results)
        )
        told = [vars(outcome) for outcome in results.outcomes]
        _replace(_outcomes(self.file(problem.device)), [suite, group_name(problem)], told)

    def keep_curves(self, device: str, group: list[str], curves: list[dict[str, Any]]) -> None:
        """Write the learning curves of a task, suite and name in ``group``, beside its figures."""
        _replace(self.file(device).with_suffix(".curves.jsonl"), group, curves)

    def write(
        self,
        device: str,
        subject: str,
        grid: tuple[str, Sequence[Sequence[str]]],
        found: Mapping[str, Cells],
        now: "Set[tuple[str, ...]]",
        number: int,
    ) -> None:
        """Write samples by metric and parameters beside what is there, as ``subject.track_*``.

        ``grid`` is the benchmark's version and the values of its parameters; at the parameters in
        ``now`` what is there is replaced, elsewhere it stays.
        """
        from .overlay import facts

        stored = self._open(device)
        version, axes = grid
        places = list(itertools.product(*axes))
        for metric, cells in found.items():
            benchmark = {
                "name": f"{subject}.track_{metric}",
                "version": version,
                "params": [[repr(value) for value in axis] for axis in axes],
            }
            if cells or benchmark["name"] in stored.get_all_result_keys():
                row = [list(cells.get(place, ())) for place in places]
                fresh = {i for i, place in enumerate(places) if place in now}
                _add(stored, benchmark, row, number, fresh)
        _save(stored, self.folder, facts(device))

    def _open(self, device: str) -> "Stored":
        from asv.results import Results as Stored

        from .overlay import facts, requirements

        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        params = {**facts(device), "python": python, **requirements()}
        stored = Stored(
            params, requirements(), self.at.hash, self.at.date, python, _environment(), {}
        )
        file = self.file(device)
        if file.is_file() and not _set_aside(file):
            stored.load_data(str(self.folder))
        return stored


def folders() -> list[Path]:
    """Where the figures of this checkout lie: committed ones, then those of what is not committed."""
    return [TREE / "results", *([] if checkout.here().clean else [uncommitted()])]


def uncommitted() -> Path:
    """The folder for figures of the code as it stands on disk, named after its content."""
    digest = hashlib.sha256()
    for folder in CODE:
        for file in sorted((TREE / folder).rglob("*")):
            if file.suffix in (".py", ".toml"):
                digest.update(str(file.relative_to(TREE)).encode() + file.read_bytes())
    return TREE / ".asv" / "uncommitted" / digest.hexdigest()[:12]


def _outcomes(file: Path) -> Path:
    """Reasons for missing figures lie beside the figures; asv reads only names ending in .json."""
    return file.with_suffix(".outcomes.jsonl")


def _replace(file: Path, group: list[str], told: list[dict[str, Any]]) -> None:
    """Write what is told of a group in the place of what the file, one JSON object a line, says of it."""
    kept = [line for line in lines(file) if line["group"] != group]
    kept += [{"group": group, **each} for each in told]
    write_atomically(file, "".join(f"{json.dumps(line)}\n" for line in kept))


def _set_aside(file: Path) -> bool:
    """Rename a file that cannot be read, so that nothing of it is lost or overwritten."""
    try:
        read(file)
    except Exception as error:  # any way of being broken
        kept = file.with_suffix(".json.broken")
        file.rename(kept)
        message = f"{file}: not read, {type(error).__name__}: {error}; kept as {kept.name}"
        warnings.warn(message, CorruptResults, stacklevel=3)
        return True
    return False


def _environment() -> str:
    """The name asv gives the overlay environment of this Python."""
    return f"overlay-py{sys.version_info.major}.{sys.version_info.minor}"


def _add(
    stored: "Stored",
    benchmark: Mapping[str, Any],
    samples: list[list[float]],
    number: int,
    now: set[int],
) -> None:
    from asv.runner import BenchmarkResult

    result = BenchmarkResult(
        result=[float("nan") if not each else each[0] for each in samples],
        samples=[each or None for each in samples],
        number=[number if each else None for each in samples],
        errcode=0,
        stderr="",
        profile=None,
    )
    stored.add_result(benchmark, result, record_samples=True, selected_idx=now)


def _save(stored: "Stored", folder: Path, facts: Mapping[str, str]) -> None:
    """Write asv's file in one step: a reader, or an interrupt, meets the old one or the new one."""
    from asv.util import write_json

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".half-") as half:
        stored.save(half)
        write_json(str(Path(half) / facts["machine"] / "machine.json"), dict(facts), 1)
        for written in Path(half).rglob("*.json"):
            place = folder / written.relative_to(half)
            place.parent.mkdir(exist_ok=True)
            written.replace(place)
